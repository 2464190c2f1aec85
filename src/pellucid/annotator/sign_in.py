"""How people come in: with the server's token, by the address that works once, or by their invitation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel, ConfigDict, Field

from pellucid.annotations.people import MAX_NAME, InvitationError
from pellucid.annotator.security import address_of, bearer_in, too_often
from pellucid.annotator.sessions import COOKIE, new_secret
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from pellucid.annotator.gate import Gate
    from pellucid.annotator.service import AnnotationService
    from pellucid.annotator.sessions import Sessions, Visitor
    from pellucid.annotator.suspect import SuspectPage

HERE = Path(__file__).parent
YEAR = 365 * 24 * 3600


class SessionBody(BaseModel):
    """Who annotates and the token where one is needed, or an invitation, which says both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    annotator: str | None = Field(default=None, max_length=MAX_NAME)
    token: str | None = Field(default=None, max_length=1000)
    invitation: str | None = Field(default=None, max_length=100)


def add_sign_in(
    app: FastAPI, service: AnnotationService, gate: Gate, sessions: Sessions, suspect: SuspectPage | None = None
) -> None:
    """How people come in; to the page of one suspect, where there is one, and from there to the images that show it."""
    pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)

    def show(name: str, visitor: Visitor, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401
        answer = HTMLResponse(pages.get_template(name).render(**values), status)
        if visitor.secret is None:
            _set_cookie(answer, new_secret())  # now, so that a sign-in whose answer is lost can be sent again
        return answer

    @app.get("/", response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        visitor = visitor_of(request)
        if visitor.inside and suspect is not None:
            return show("suspect.html", visitor, about=suspect.about(visitor.annotator))
        return images(request)

    @app.get("/images", response_class=HTMLResponse)
    def images(request: Request) -> HTMLResponse:
        visitor = visitor_of(request)
        if visitor.inside:
            return show("page.html", visitor, about=service.about(visitor.annotator))
        return show("signin.html", visitor, 401, known=visitor.annotator or "", invited="", code="")

    @app.get("/enter/{code}")
    def enter(code: str, request: Request) -> Response:
        secret = visitor_of(request).secret or new_secret()
        _try(gate, request, lambda: gate.use_code(code, secret), "this address was used already, or never given out.")
        # no redirect: after a click on another site it would come without the cookie, which is for this site alone
        answer = HTMLResponse(pages.get_template("enter.html").render())
        _set_cookie(answer, secret)
        return answer

    @app.get("/invite/{code}")
    def invitation(code: str, request: Request) -> Response:
        # looking at it accepts nothing: mail programs do so before people do
        visitor = visitor_of(request)
        try:
            name = sessions.invited_name(code, visitor.secret)
        except InvitationError as error:
            _count_wrong(gate, request)
            return show("refused.html", visitor, 403, message=str(error))
        return show("signin.html", visitor, known=name, invited=name, code=code)

    @app.post("/api/session")
    def session(body: SessionBody, request: Request) -> Response:
        visitor = visitor_of(request)
        secret = visitor.secret or new_secret()
        if (body.annotator is None) == (body.invitation is None):
            raise InputError("say either who annotates or which invitation you have.")
        if body.invitation is not None:
            try:
                sessions.invited_name(body.invitation, secret)  # a look, which keeps nobody from writing
            except InvitationError:
                _count_wrong(gate, request)
                raise
            name = sessions.accept(body.invitation, secret)
        else:
            token = body.token or bearer_in(dict(request.headers))
            if not visitor.inside:
                _try(gate, request, lambda: gate.admits(token), "this is not the server's token.")
            name = sessions.sign_in(body.annotator or "", secret)
        answer = JSONResponse(service.about(name))
        _set_cookie(answer, secret)
        return answer

    @app.get("/api/about")
    def about(request: Request) -> dict[str, Any]:
        return service.about(visitor_of(request).annotator)


def _try(gate: Gate, request: Request, is_right: Callable[[], bool], message: str) -> None:
    """Look at what somebody shows to come in, unless too much of it was wrong.

    Args:
        gate: which counts.
        request: of whom.
        is_right: looks whether it is the right thing.
        message: what to tell where it is not.

    Raises:
        HTTPException: 401 where it is not, 429 after too many that were not.
    """
    address = address_of(request.scope)
    wait = gate.guesses.waiting(address)
    right = not wait and is_right()
    wait = wait or gate.guesses.wait(address, right=right)
    if wait:
        raise HTTPException(429, too_often(wait), {"Retry-After": str(math.ceil(wait))})
    if not right:
        raise HTTPException(401, message)


def _count_wrong(gate: Gate, request: Request) -> None:
    """Count an invitation that is none; 429 after too many wrong things."""
    wait = gate.guesses.wait(address_of(request.scope), right=False)
    if wait:
        raise HTTPException(429, too_often(wait), {"Retry-After": str(math.ceil(wait))})


def visitor_of(request: Request) -> Visitor:
    """Who made a request, as the guard found out."""
    visitor: Visitor = request.scope["state"]["visitor"]
    return visitor


def _set_cookie(answer: Response, secret: str) -> None:
    answer.set_cookie(COOKIE, secret, max_age=YEAR, httponly=True, samesite="strict", path="/")
