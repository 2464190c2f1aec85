"""How much of the server's memory and patience one request may take, known before anything of it is parsed."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

MAX_HEADERS = 16 << 10  # bytes: browsers send one or two thousand, and the cookies of others on this machine
MAX_BODY = 1 << 20  # bytes of a mark: 10,000 points take less than half
NOTE_BODY = 128 << 10  # 10,000 characters, each written as two escapes of six bytes
SMALL_BODY = 4 << 10  # what every other request gets along with: an answer, a state, a name and a token
BODY_SECONDS = 20.0  # as long as the page itself waits for an answer
LARGE = (
    (re.compile(r"/api/images/[^/]*/marks/[^/]*"), MAX_BODY),
    (re.compile(r"/api/images/[^/]*/note"), NOTE_BODY),
)


class BodyTooLargeError(Exception):
    """A body that holds more than its request may."""


class TooSlowError(Exception):
    """A body that does not arrive."""


def body_limit(scope: Scope) -> int:
    """How many bytes the body of a request may hold."""
    if scope["method"] == "PUT":
        for path, limit in LARGE:
            if path.fullmatch(scope["path"]):
                return limit
    return SMALL_BODY


def header_size(scope: Scope) -> int:
    """How many bytes the target and the headers of a request take."""
    target = len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
    return target + sum(len(name) + len(value) for name, value in scope["headers"])


def is_announced_larger(length: str, limit: int) -> bool:
    """Whether a Content-Length says more than the limit, or nothing that can be read."""
    return not (length.isascii() and length.isdigit() and len(length) <= 20) or int(length) > limit


async def read_body(receive: Receive, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The body of a request, which is read no further than its limit.

    Raises:
        BodyTooLargeError: it is larger, whatever its headers said.
        TooSlowError: it is not whole after so many seconds.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message: Message = await receive()
                if message["type"] != "http.request":
                    return bytes(body)
                body += message.get("body", b"")
                if len(body) > limit:
                    raise BodyTooLargeError
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise TooSlowError from None
