"""Who may come in: the token, the codes that stand for it in an address, and wrong ones, which are slowed."""

from __future__ import annotations

import hmac
import secrets
import threading

from pellucid.annotations.people import digest
from pellucid.annotator.guesses import Guesses


class Gate:
    """The token, if one is needed, and the one-time codes that stand for it in an address.

    Args:
        token: what everybody has to show who was not invited; None where none is needed.
    """

    def __init__(self, token: str | None) -> None:
        self.token = token
        self.guesses = Guesses()
        self._codes: set[str] = set()
        self._entered: set[str] = set()
        self._lock = threading.Lock()

    def make_code(self) -> str:
        """A code that lets one visitor in, once."""
        code = secrets.token_urlsafe(16)
        self._codes.add(code)
        return code

    def use_code(self, code: str, secret: str) -> bool:
        """Whether a code lets a session in; it does so no second time."""
        with self._lock:
            match = next((c for c in self._codes if hmac.compare_digest(c.encode(), code.encode())), None)
            if match is None:
                return False
            self._codes.discard(match)
            self._entered.add(digest(secret))
            return True

    def has_entered(self, secret: str) -> bool:
        """Whether a code let a session in since the server was started."""
        return digest(secret) in self._entered

    def admits(self, token: str | None) -> bool:
        """Whether a token is the right one, compared in constant time; anything is, where none is needed."""
        if self.token is None:
            return True
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())
