"""Who asks: the browser that a request's cookie belongs to, the name under which it speaks, and whether it may."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pellucid.annotations.people import INVITED, accept, digest, invited_name, sessions, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.annotations.people import BrowserSession
    from pellucid.annotations.store import AnnotationStore
    from pellucid.annotator.gate import Gate

COOKIE = "pellucid_session"
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits
HIT_SECONDS, MISS_SECONDS = 5.0, 1.0  # how old the list of sessions may be for one that is in it, and one that is not


@dataclass(frozen=True)
class Visitor:
    """Whoever made a request.

    Attributes:
        secret: the session's; None where the browser has none yet.
        annotator: the name under which it signed in, if it did.
        inside: whether it may come in.
    """

    secret: str | None
    annotator: str | None
    inside: bool


class Sessions:
    """The sessions of a database, kept in memory: a request costs no question to the database.

    Another process may invite people or sign them out; that is known after `HIT_SECONDS`.

    Args:
        store: the database.
        gate: who may come in.
        clock: seconds that only grow.
    """

    def __init__(self, store: AnnotationStore, gate: Gate, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._gate, self._clock = store, gate, clock
        self._known: dict[str, BrowserSession] = {}
        self.renew()

    def is_old(self, secret: str | None) -> bool:
        """Whether the list should be renewed before it is asked about a session."""
        if secret is None:
            return False
        age = self._clock() - self._renewed
        return age > (HIT_SECONDS if digest(secret) in self._known else MISS_SECONDS)

    def renew(self) -> None:
        """Read the list again."""
        self._renewed = self._clock()
        self._known = sessions(self._store)

    def visitor(self, secret: str | None) -> Visitor:
        """Who a session is, and whether it may come in."""
        session = None if secret is None else self._known.get(digest(secret))
        inside = self._gate.token is None or (secret is not None and self._gate.has_entered(secret))
        if session is not None and secret is not None:
            inside = inside or session.proof == INVITED or hmac.compare_digest(session.proof, self._proof(secret))
        return Visitor(secret, None if session is None else session.annotator, inside)

    def sign_in(self, name: str, secret: str) -> str:
        """Have a session that may come in speak under a name; see `people.sign_in`."""
        name = sign_in(self._store, name, secret, self._proof(secret))
        self.renew()
        return name

    def accept(self, code: str, secret: str) -> str:
        """Have a session speak under the name that it is invited to; see `people.accept`."""
        name = accept(self._store, code, secret)
        self.renew()
        return name

    def invited_name(self, code: str, secret: str | None) -> str:
        """Whom a code invites; see `people.invited_name`."""
        return invited_name(self._store, code, secret)

    def _proof(self, secret: str) -> str:
        """That a session knew the token: another token asks for another proof, and the token is not in the database."""
        if self._gate.token is None:
            return ""
        return hmac.new(secret.encode(), self._gate.token.encode(), hashlib.sha256).hexdigest()


def new_secret() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(32)


def secret_in(cookies: str) -> str | None:
    """The session's secret in a Cookie header; other cookies are not looked at.

    Example:
        >>> secret_in("theme=dark; pellucid_session=" + "a" * 43) == "a" * 43
        True
        >>> secret_in("pellucid_session=short; pellucid_session2=" + "a" * 43)
    """
    for part in cookies.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == COOKIE:
            value = unquote(value.strip())
            return value if SECRET.fullmatch(value) else None
    return None
