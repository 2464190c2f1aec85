"""Who may speak under which name: a name belongs to the browser that signed in under it first, or was invited to."""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from pellucid.annotations.schema import INVITATION, MARK, NOTE, SESSION, VERDICT, VISIT
from pellucid.annotations.store import timestamp
from pellucid.types import InputError

if TYPE_CHECKING:
    from pellucid.annotations.store import AnnotationStore

MAX_NAME = 80  # characters
INVITED = "invitation"  # the proof of a session that an invitation opened
VALID = timedelta(days=30)  # how long an invitation waits for its guest


class NameTakenError(InputError):
    """A name that belongs to another browser."""


class InvitationError(InputError):
    """An invitation that lets nobody in."""


@dataclass(frozen=True)
class BrowserSession:
    """A browser, or a program, that signed in.

    Attributes:
        annotator: the name under which it speaks now.
        proof: how it came in: `INVITED`, or whatever the server made of its token.
    """

    annotator: str
    proof: str


def check_name(name: str) -> str:
    """A name without spaces around it.

    Raises:
        InputError: it is empty, too long, or has characters that cannot be seen.
    """
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InputError(f"a name has from 1 to {MAX_NAME} printable characters.")
    return name


def digest(secret: str) -> str:
    """What the database keeps of a secret, from which nobody gets it back: secrets are long and random."""
    return hashlib.sha256(secret.encode()).hexdigest()


def sign_in(store: AnnotationStore, name: str, secret: str, proof: str = "") -> str:
    """Have a session speak under a name from now on; the name as it is written where it is known already.

    A name that nobody used is the session's from now on. What is reserved for other names of the same session is free.

    Args:
        store: where it is kept.
        name: who annotates.
        secret: what the session alone knows.
        proof: how it came in.

    Raises:
        InputError: a name that cannot be one.
        NameTakenError: it belongs to another session, or was invited, or annotated before there were sessions.
    """
    name, mine = check_name(name), digest(secret)
    with store.writing() as connection:
        own = connection.execute(sa.select(SESSION.c.annotator).where(SESSION.c.secret == mine)).scalars()
        names = {_key(each): each for each in own}
        if _key(name) not in names and _key(name) in {_key(each) for each in _names(connection)}:
            raise NameTakenError(
                f"the name {name} belongs to the browser that signed in under it first. If it is yours, ask whoever "
                "runs this server for an invitation (pellucid annotate invite); otherwise choose another name."
            )
        name = names.get(_key(name), name)
        _speak(connection, name, mine, proof)
    return name


def invite(store: AnnotationStore, name: str, *, sign_out: bool = False) -> str:
    """A code that lets one browser in under a name, once; earlier codes for this name that nobody used are void.

    Args:
        store: where it is kept.
        name: who is invited, new or known.
        sign_out: whether the browsers that speak under this name now may no longer do so.

    Raises:
        InputError: a name that cannot be one.
    """
    name, code = check_name(name), secrets.token_urlsafe(24)
    with store.writing() as connection:
        name = {_key(each): each for each in _names(connection)}.get(_key(name), name)
        unused = (INVITATION.c.annotator == name) & INVITATION.c.accepted.is_(None)
        connection.execute(sa.delete(INVITATION).where(unused))
        if sign_out:
            connection.execute(sa.delete(SESSION).where(SESSION.c.annotator == name))
        row = {"code": digest(code), "annotator": name, "created": timestamp(datetime.now(UTC)), "accepted": None}
        connection.execute(sa.insert(INVITATION).values(row))
    return code


def invited_name(store: AnnotationStore, code: str, secret: str | None = None) -> str:
    """Whom a code invites.

    Args:
        store: where it is kept.
        code: of the invitation.
        secret: of the session that shows it; the one that accepted it may show it again.

    Raises:
        InvitationError: it is none, was accepted by another session, or is too old.
    """
    with store.reading(rows=False) as connection:
        return _invited(connection, code, secret)


def accept(store: AnnotationStore, code: str, secret: str) -> str:
    """Have a session speak under the name that it is invited to; the name. Accepted again, nothing changes.

    Raises:
        InvitationError: as `invited_name`.
    """
    mine = digest(secret)
    with store.writing() as connection:
        name = _invited(connection, code, secret)
        connection.execute(sa.update(INVITATION).where(INVITATION.c.code == digest(code)).values(accepted=mine))
        _speak(connection, name, mine, INVITED)
    return name


def sessions(store: AnnotationStore) -> dict[str, BrowserSession]:
    """All sessions by the digests of their secrets."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(SESSION).order_by(SESSION.c.used)).all()
    return {row.secret: BrowserSession(row.annotator, row.proof) for row in rows}  # the name used last stays


def _speak(connection: sa.Connection, name: str, mine: str, proof: str) -> None:
    here = (SESSION.c.secret == mine) & (SESSION.c.annotator == name)
    old = connection.execute(sa.select(SESSION.c.proof).where(here)).scalar()
    row = {"proof": INVITED if old == INVITED else proof, "used": timestamp(datetime.now(UTC))}
    if old is None:
        connection.execute(sa.insert(SESSION).values({**row, "secret": mine, "annotator": name}))
    else:
        connection.execute(sa.update(SESSION).where(here).values(row))
    others = sa.select(SESSION.c.annotator).where((SESSION.c.secret == mine) & (SESSION.c.annotator != name))
    is_left = VISIT.c.annotator.in_(others) & (VISIT.c.state == "offered")
    connection.execute(sa.update(VISIT).where(is_left).values(state="lapsed"))


def _invited(connection: sa.Connection, code: str, secret: str | None) -> str:
    row = connection.execute(sa.select(INVITATION).where(INVITATION.c.code == digest(code))).first()
    again = "Ask whoever runs this server for another one (pellucid annotate invite)."
    if row is None:
        raise InvitationError(f"this is no invitation, or a newer one took its place. {again}")
    if row.accepted is not None:
        there = (SESSION.c.secret == row.accepted) & (SESSION.c.annotator == row.annotator)
        signed_in = connection.execute(sa.select(SESSION.c.secret).where(there)).scalar()
        if secret is None or signed_in != digest(secret):
            raise InvitationError(f"this invitation was accepted in another browser. {again}")
    elif datetime.now(UTC) - datetime.fromisoformat(row.created) > VALID:
        raise InvitationError(f"this invitation is older than {VALID.days} days. {again}")
    return str(row.annotator)


def _names(connection: sa.Connection) -> set[str]:
    """All names under which anybody speaks, was invited, or spoke before."""
    names: set[str] = set()
    for table in (SESSION, INVITATION, MARK, VERDICT, NOTE, VISIT):
        names.update(connection.execute(sa.select(table.c.annotator).distinct()).scalars())
    return names


def _key(name: str) -> str:
    """What names have in common that people take for the same."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
