"""Running the annotation server: where it listens, who needs a token, and the address that opens the page."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.annotator.gate import Gate
from pellucid.annotator.security import is_local
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import uvicorn
    from starlette.types import ASGIApp

    from pellucid.annotator.service import AnnotationService
    from pellucid.annotator.suspect import OpenSuspect

LEAST_TOKEN = 16  # characters
TOKEN_VARIABLE = "PELLUCID_ANNOTATE_TOKEN"  # noqa: S105 (its name)


@dataclass(frozen=True)
class ServerAccess:
    """Where the server listens and who may come in.

    Attributes:
        gate: who may come in.
        local: it listens on this machine alone.
        listening: the socket.
        base: its address, without a path.
        has_new_token: its token was made here, so that nobody knows it yet.
    """

    gate: Gate
    local: bool
    listening: socket.socket
    base: str
    has_new_token: bool = False


def server_access(host: str, port: int, token: str | None = None) -> ServerAccess:
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
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else host  # which others can follow # noqa: S104
    base = f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}"
    return ServerAccess(gate, local, listening, base, has_new_token=token is None and gate.token is not None)


def make_gate(host: str, token: str | None) -> tuple[Gate, bool]:
    """Who may come in, and whether the server listens on this machine alone; see `server_access`."""
    local = is_local(host)
    if token is not None and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(
            f"a token has at least {LEAST_TOKEN} plain characters on one line; give none, and one is made."
        )
    return Gate(token if local or token is not None else secrets.token_urlsafe(24)), local


def read_token(file: Path | None, typed: str | None = None) -> str | None:
    """The token from a file or from the environment, neither of which a list of processes shows; None without either.

    Args:
        file: which holds the token and nothing else, but for spaces and line ends around it.
        typed: a token on the command line, where everybody could read it.

    Raises:
        InputError: the file cannot be read, or there are both; a token that was typed.
    """
    if typed is not None:
        raise InputError(
            "a token on the command line can be read by every account of this machine, in the list of processes: put "
            f"it into a file that is yours alone (--token-file FILE), or into the variable {TOKEN_VARIABLE}."
        )
    token = os.environ.get(TOKEN_VARIABLE)
    if file is None:
        return token
    if token is not None:
        raise InputError(f"give the token in --token-file or in {TOKEN_VARIABLE}, not in both.")
    try:
        return file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--token-file {file} cannot be read: {getattr(error, 'strerror', 'no text')}.") from error


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server for the application, within the limits of `connections`."""
    import uvicorn

    from pellucid.annotator.connections import BoundedProtocol
    from pellucid.annotator.limits import MAX_HEADERS

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=BoundedProtocol,
            ws="none",
            h11_max_incomplete_event_size=MAX_HEADERS,
            timeout_keep_alive=10,  # seconds: longer than clients keep a connection, who would meet its end otherwise
            access_log=False,
            log_level="warning",
            server_header=False,
        )
    )


def serve(
    service: AnnotationService,
    access: ServerAccess,
    *,
    say: Callable[[str], object] = print,
    open_page: bool = True,
    suspect: OpenSuspect | None = None,
) -> None:
    """Serve the annotation page until it is interrupted; then it is closed.

    Args:
        service: what is served.
        access: where.
        say: tells where the page is.
        open_page: open it in a browser.
        suspect: the one that is to be marked; None for the images alone.
    """
    from pellucid.annotator.server import create_app
    from pellucid.annotator.suspect import SuspectPage

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    page = None
    if suspect is not None:
        page = SuspectPage(suspect, service.store)
        say(f"{suspect.sentence}; its mark goes to {suspect.folder / str(suspect.suspect.number)} as well")
    if access.gate.token is None:
        address = f"{access.base}/"
        say(f"the page is at {address}")
    else:
        address = f"{access.base}/enter/{access.gate.make_code()}"
        say(f"the page is at {address} (this address works once)")
        token = f"the token {access.gate.token}" if access.has_new_token else "the token that you gave"
        say(f"for everybody else: one link each, from `pellucid annotate invite NAME` (or {access.base}/ with {token})")
    if open_page:
        import webbrowser

        webbrowser.open(address)
    app = create_app(service, access.gate, local=access.local, suspect=page)
    try:
        make_server(app).run(sockets=[access.listening])
    finally:
        service.close()


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
