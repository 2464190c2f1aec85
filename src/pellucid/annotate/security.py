"""What is refused before any answer is made: foreign hosts and origins, missing tokens, bodies that are too large."""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import re
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("pellucid.annotate")

MAX_BODY = 1 << 20  # bytes: 10,000 points take less than half
TOKEN_COOKIE, NAME_COOKIE = "pellucid_token", "pellucid_annotator"
OPEN_PATHS = re.compile(r"/|/static/.*|/enter/[^/]*|/api/session")  # what one may see without a token, to give it
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",  # unless the answer says otherwise
}


class Gate:
    """The token, if one is needed, and the one-time codes that stand for it in an address.

    Args:
        token: what everybody has to show; None where none is needed.
    """

    def __init__(self, token: str | None) -> None:
        self.token = token
        self._codes: set[str] = set()

    def make_code(self) -> str:
        """A code that lets one visitor in, once."""
        code = secrets.token_urlsafe(16)
        self._codes.add(code)
        return code

    def use_code(self, code: str) -> bool:
        """Whether a code lets its bearer in; it does so no second time."""
        known = next((c for c in self._codes if hmac.compare_digest(c.encode(), code.encode())), None)
        self._codes.discard(known or "")
        return known is not None

    def admits(self, token: str | None) -> bool:
        """Whether a token is the right one, compared in constant time; anything is, where none is needed."""
        if self.token is None:
            return True
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())


class Guard:
    """An ASGI middleware that refuses what should not reach the server, says so in the log, and adds safe headers.

    Args:
        app: what is guarded.
        gate: who may come in.
        local: the server listens on this machine alone: requests for other host names are refused, for they come
            from a web site whose name was made to point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, gate: Gate, *, local: bool) -> None:
        self._app, self._gate, self._local = app, gate, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no other protocol is spoken here
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(message)
                if message["status"] >= 400:
                    log.warning("refused with %d: %s", message["status"], _told(scope))
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send_safely, *refusal)
            return
        body = await _read(receive)
        if body is None:
            await _answer(send_safely, 413, f"a request holds at most {MAX_BODY:,} bytes.")
            return
        unread = [body]

        async def replay() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        await self._app(scope, replay, send_safely)

    def _refusal(self, scope: Scope, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        host = _parts(f"//{headers.get('host', '')}").hostname
        if self._local and not is_local(host or ""):
            return 421, "this server answers to localhost alone."
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            return 413, f"a request holds at most {MAX_BODY:,} bytes."
        if scope["method"] not in ("GET", "HEAD"):
            if _is_foreign(headers):
                return 403, "requests from other sites are refused."
            kind = headers.get("content-type", "").partition(";")[0].strip()
            if scope["method"] in ("POST", "PUT") and kind != "application/json":
                return 415, "bodies are JSON: Content-Type: application/json."
        if not OPEN_PATHS.fullmatch(scope["path"]) and not self._gate.admits(token_in(headers)):
            return 401, "this server asks for its token."
        return None


def _is_foreign(headers: MutableMapping[str, str]) -> bool:
    """Whether a browser says that a request was made by a page of another site."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and _parts(origin).netloc != headers.get("host", "")


def is_local(host: str) -> bool:
    """Whether an address is this machine's own, out of others' reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(address: str) -> SplitResult:
    """An address in parts, which are empty where it cannot be read."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def token_in(headers: MutableMapping[str, str]) -> str | None:
    """The token that a request carries, as a bearer's or in a cookie."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    return cookies_in(headers).get(TOKEN_COOKIE)


def cookies_in(headers: MutableMapping[str, str]) -> dict[str, str]:
    """The cookies of a request; none where they cannot be read."""
    try:
        return {name: unquote(morsel.value) for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _complete(message: Message) -> None:
    present = {name.lower() for name, _ in message["headers"]}
    added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in present]
    message["headers"] = [*message["headers"], *added]


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None for one that is too large, whatever its headers said."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return body


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _told(scope: Scope) -> str:
    """A request for the log: no token, no code, no line break, nothing long."""
    path: Any = scope["path"]
    if path.startswith("/enter/"):
        path = "/enter/…"
    client = scope.get("client") or ("unknown",)
    return f"{scope['method']} {path[:200]!r} from {client[0]}"
