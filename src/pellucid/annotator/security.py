"""What is refused before any answer is made: foreign hosts and origins, missing tokens, what is too large or slow."""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from starlette.concurrency import run_in_threadpool

from pellucid.annotator.limits import (
    MAX_HEADERS,
    BodyTooLargeError,
    TooSlowError,
    body_limit,
    header_size,
    is_announced_larger,
    read_body,
)
from pellucid.annotator.sessions import secret_in

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pellucid.annotator.gate import Gate
    from pellucid.annotator.sessions import Sessions, Visitor

log = logging.getLogger("pellucid.annotator")

Refusal = tuple[int, str]  # status and reason
OPEN_PATHS = re.compile(r"/|/static/.*|/enter/[^/]*|/invite/[^/]*|/api/session")  # what one sees to be let in
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


class Guard:
    """An ASGI middleware that refuses what should not reach the server, says so in the log, and adds safe headers.

    What follows finds who asks in ``scope["state"]["visitor"]``, and no cookies, which frameworks take long to parse.

    Args:
        app: what is guarded.
        gate: who may come in.
        sessions: who did.
        local: the server listens on this machine alone: requests for other host names are refused, for they come
            from a web site whose name was made to point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, gate: Gate, sessions: Sessions, *, local: bool) -> None:
        self._app, self._gate, self._sessions, self._local = app, gate, sessions, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no other protocol is spoken here

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(message)
                if message["status"] >= 400:
                    log.warning("refused with %d: %s", message["status"], _told(scope))
            await send(message)

        if header_size(scope) > MAX_HEADERS:
            await _answer(send_safely, 431, f"a request's headers hold at most {MAX_HEADERS:,} bytes.")
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        visitor = await self._visitor(headers)
        limit = body_limit(scope)
        refusal = self._refusal(scope, headers, limit) or self._closed(scope, headers, visitor)
        if refusal is not None:
            await _answer(send_safely, *refusal)
            return
        try:
            unread = [await read_body(receive, limit)]
        except BodyTooLargeError:
            await _answer(send_safely, 413, _too_large(limit))
            return
        except TooSlowError:
            await _answer(send_safely, 408, "the request took too long to arrive.")
            return

        async def replay() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        passed = [(k, v) for k, v in scope["headers"] if k.lower() != b"cookie"]
        state = {**scope.get("state", {}), "visitor": visitor}
        await self._app({**scope, "headers": passed, "state": state}, replay, send_safely)

    async def _visitor(self, headers: MutableMapping[str, str]) -> Visitor:
        secret = secret_in(headers.get("cookie", ""))
        if self._sessions.is_old(secret):
            await run_in_threadpool(self._sessions.renew)
        return self._sessions.visitor(secret)

    def _refusal(self, scope: Scope, headers: MutableMapping[str, str], limit: int) -> Refusal | None:
        """What no request may be, whoever makes it."""
        host = _parts(f"//{headers.get('host', '')}").hostname
        if self._local and not is_local(host or ""):
            return 421, "this server answers to localhost alone."
        if is_announced_larger(headers.get("content-length", "0"), limit):
            return 413, _too_large(limit)
        if scope["method"] not in ("GET", "HEAD"):
            if _is_foreign(headers):
                return 403, "requests from other sites are refused."
            kind = headers.get("content-type", "").partition(";")[0].strip()
            if scope["method"] in ("POST", "PUT") and kind != "application/json":
                return 415, "bodies are JSON: Content-Type: application/json."
        return None

    def _closed(self, scope: Scope, headers: MutableMapping[str, str], visitor: Visitor) -> Refusal | None:
        """Why somebody may not come in; None for whoever may, and for what everybody may see."""
        if visitor.inside or OPEN_PATHS.fullmatch(scope["path"]):
            return None
        token = bearer_in(headers)
        if token is None:
            return 401, "this server asks for its token."
        right = self._gate.admits(token)
        wait = self._gate.guesses.wait(address_of(scope), right=right)
        if wait:
            return 429, too_often(wait)
        return None if right else (401, "this is not the server's token.")


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


def bearer_in(headers: MutableMapping[str, str]) -> str | None:
    """The token that a request carries as a bearer's, if it does."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def address_of(scope: Scope) -> str:
    """Where a request comes from; behind a proxy on this machine, what the proxy says."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def too_often(wait: float) -> str:
    """What to tell somebody who showed too many wrong tokens."""
    seconds = math.ceil(wait)
    return f"too many wrong tokens came from here: wait {seconds} second{'' if seconds == 1 else 's'}, then try again."


def _too_large(limit: int) -> str:
    return f"the body of this request holds at most {limit:,} bytes."


def _complete(message: Message) -> None:
    present = {name.lower() for name, _ in message["headers"]}
    added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in present]
    message["headers"] = [*message["headers"], *added]


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 408:
        headers.append((b"connection", b"close"))  # in all other cases what else comes is read, so that this is too
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _told(scope: Scope) -> str:
    """A request for the log: no token, no code, no line break, nothing long."""
    path: Any = scope["path"]
    for secret in ("/enter/", "/invite/"):
        if path.startswith(secret):
            path = f"{secret}…"
    return f"{scope['method']} {path[:200]!r} from {address_of(scope)}"
