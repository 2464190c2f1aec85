"""Running the annotation server: where it listens, who needs a token, and the address that opens the page."""

from __future__ import annotations

import logging
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.annotate.security import Gate, is_local
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.annotate.desk import Desk

LEAST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Door:
    """Where the server listens and who may come in.

    Attributes:
        gate: who may come in.
        local: it listens on this machine alone.
        listening: the socket.
        base: its address, without a path.
    """

    gate: Gate
    local: bool
    listening: socket.socket
    base: str


def open_door(host: str, port: int, token: str | None = None) -> Door:
    """Take a port, so that whatever is wrong with it is known before any work.

    Args:
        host: the address to listen on; any but this machine's own needs a token.
        port: 0 for any that is free.
        token: what annotators must know; made where it is needed and not given.

    Raises:
        InputError: the port is taken or the address is not this machine's; a token that is short, or has characters
            that no header can carry.
    """
    gate, local = make_gate(host, token)
    listening = _listen(host, port)
    base = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    return Door(gate, local, listening, base)


def make_gate(host: str, token: str | None) -> tuple[Gate, bool]:
    """Who may come in, and whether the server listens on this machine alone; see `open_door`."""
    local = is_local(host)
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(f"a token has at least {LEAST_TOKEN} plain characters; leave --token out to have one made.")
    return Gate(token if local or token is not None else secrets.token_urlsafe(24)), local


def serve_desk(desk: Desk, door: Door, *, say: Callable[[str], object] = print, open_page: bool = True) -> None:
    """Serve a desk until it is interrupted; then it is closed.

    Args:
        desk: what is served.
        door: where.
        say: tells where the page is.
        open_page: open it in a browser.
    """
    import uvicorn

    from pellucid.annotate.server import create_app

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    if door.gate.token is None:
        address = f"{door.base}/"
        say(f"the page is at {address}")
    else:
        address = f"{door.base}/enter/{door.gate.make_code()}"
        say(f"the page is at {address} (this address works once)")
        say(f"for everybody else: {door.base}/ with the token {door.gate.token}")
    if open_page:
        import webbrowser

        webbrowser.open(address)
    app = create_app(desk, door.gate, local=door.local)
    config = uvicorn.Config(app, access_log=False, log_level="warning", server_header=False)
    try:
        uvicorn.Server(config).run(sockets=[door.listening])
    finally:
        desk.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # now, for a browser that is opened before the server runs waits instead of failing
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}). Choose another --port or --host."
        ) from error
    return listening
