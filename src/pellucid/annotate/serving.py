"""Running the annotation server: where it listens, who needs a token, and the address that opens the page."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from typing import TYPE_CHECKING

from pellucid.annotate.security import LOCAL_HOSTS, Gate
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.annotate.desk import Desk

LEAST_TOKEN = 16  # characters


def make_gate(host: str, token: str | None) -> tuple[Gate, bool]:
    """Who may come in, and whether the server listens on this machine alone.

    Raises:
        InputError: a token that is short, or has characters that no header can carry.
    """
    local = is_local(host)
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(f"a token has at least {LEAST_TOKEN} plain characters; leave --token out to have one made.")
    return Gate(token if local or token is not None else secrets.token_urlsafe(24)), local


def is_local(host: str) -> bool:
    """Whether an address is this machine's own, out of others' reach."""
    try:
        return host in LOCAL_HOSTS or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve_desk(
    desk: Desk,
    *,
    host: str,
    port: int,
    token: str | None = None,
    say: Callable[[str], object] = print,
    open_page: bool = True,
) -> None:
    """Serve a desk until it is interrupted.

    Args:
        desk: what is served; it is closed at the end.
        host: the address to listen on.
        port: 0 for any that is free.
        token: what annotators must know; made where `host` is not this machine alone.
        say: tells where the page is.
        open_page: open it in a browser.

    Raises:
        InputError: the port is taken or the address is not this machine's; a bad token.
    """
    import uvicorn

    from pellucid.annotate.server import create_app

    gate, local = make_gate(host, token)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    listening = _listen(host, port)
    base = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    if gate.token is None:
        address = f"{base}/"
    else:
        address = f"{base}/enter/{gate.make_code()}"
        say(f"the token, for everybody else: {gate.token}")
    say(f"the page is at {address}" + ("" if gate.token is None else " (this address works once)"))
    if open_page:
        import webbrowser

        webbrowser.open(address)
    config = uvicorn.Config(
        create_app(desk, gate, local=local), access_log=False, log_level="warning", server_header=False
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        desk.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}). Choose another --port or --host."
        ) from error
    return listening
