"""The HTTP interface of annotation, for the page and for programs; docs/annotation.md describes it."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from pellucid.annotations.people import InvitationError, NameTakenError
from pellucid.annotations.records import Kind, LabelAnswer, Mark, Note, Present
from pellucid.annotations.shapes import shape_from_json
from pellucid.annotations.store import ConflictError, ForeignMarkError, UnknownMarkError
from pellucid.annotator.security import Guard
from pellucid.annotator.service import MAX_NOTE, AnnotationService, mark_to_json
from pellucid.annotator.sessions import Sessions
from pellucid.annotator.sign_in import HERE, add_sign_in, visitor_of
from pellucid.types import Box, InputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from pellucid.annotator.gate import Gate
    from pellucid.annotator.suspect import SuspectPage
    from pellucid.annotator.worker import Picture

log = logging.getLogger("pellucid.annotator")

PATIENCE = 120  # seconds that an answer waits for an explanation
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STATUS = {ConflictError: 409, ForeignMarkError: 403, InvitationError: 403, NameTakenError: 409, UnknownMarkError: 410}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MarkBody(_Body):
    """A region that was drawn."""

    class_name: str = Field(alias="class", max_length=1000)
    kind: Kind
    shape: dict[str, Any]


class VerdictBody(_Body):
    """A label confirmed or corrected; null takes the verdict back."""

    present: Present | None


class NoteBody(_Body):
    """What somebody wrote about an image."""

    text: str = Field(max_length=MAX_NOTE)


class StateBody(_Body):
    """An image closed, or opened again."""

    state: Literal["offered", "done", "skipped"]


class SuspectBody(_Body):
    """What is marked of a suspect: a rectangle in pixels of the network's frame, or null for the region as found."""

    box: Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=4, max_length=4)] | None


def create_app(
    service: AnnotationService, gate: Gate, *, local: bool = True, suspect: SuspectPage | None = None
) -> ASGIApp:
    """The annotation server as an ASGI application.

    Args:
        service: what its answers are made of.
        gate: who may come in.
        local: it listens on this machine alone.
        suspect: the one whose page comes first, where one is to be marked.
    """
    app = FastAPI(title="Pellucid annotation", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    app.mount("/static", StaticFiles(directory=HERE / "static", check_dir=False))
    sessions = Sessions(service.store, gate)

    @app.exception_handler(InputError)
    def _input_error(_: Request, error: InputError) -> JSONResponse:
        return _error(STATUS.get(type(error), 400), str(error))

    @app.exception_handler(RequestValidationError)
    def _validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        message = "; ".join(f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in error.errors()[:3])
        return _error(400, message)

    @app.exception_handler(StarletteHTTPException)
    def _http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        answer = _error(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    add_sign_in(app, service, gate, sessions, suspect)
    _add_images(app, service)
    _add_annotations(app, service)
    if suspect is not None:
        _add_suspect(app, suspect)
    return Guard(app, gate, sessions, local=local)


def _add_images(app: FastAPI, service: AnnotationService) -> None:
    """What there is to see."""

    @app.get("/api/queue")
    def queue(annotator: Annotator, count: Annotated[int, Query(ge=1, le=10)] = 3) -> dict[str, Any]:
        images = [service.describe(image, annotator) for image in service.queue(annotator, count)]
        away = 0 if images else service.away(annotator)
        return {"images": images, "away": away, "progress": service.progress(annotator)}

    @app.get("/api/images")
    def finished(annotator: Annotator) -> dict[str, Any]:
        return {"images": service.finished(annotator)}

    @app.get("/api/images/{key}")
    def image(opened: Seen, annotator: Annotator) -> dict[str, Any]:
        return service.describe(opened, annotator)

    @app.get("/api/images/{key}/pixels.png")
    def pixels(opened: Seen, request: Request) -> Response:
        return _png(service.explanations.pixels(service.row_of(opened)), request)

    @app.get("/api/images/{key}/explanations/{method}/{index}")
    async def explanation(
        key: str, method: str, index: int, request: Request, annotator: Annotator, rho: float | None = None
    ) -> Response:
        opened = _seen(await run_in_threadpool(_opened, key, request, annotator), request)
        explanations, row = service.explanations, service.row_of(opened)
        if method not in explanations.methods:
            raise HTTPException(404, f"explanations are {', '.join(explanations.methods)}.")
        if not 0 <= index < len(service.dataset.classes):
            raise HTTPException(404, f"classes are numbered from 0 to {len(service.dataset.classes) - 1}.")
        if (method == "adversarial") != (rho is not None) or (rho is not None and rho not in explanations.rhos):
            raise InputError(f"rho is one of {', '.join(map(str, explanations.rhos))}, of adversarial alone.")
        job = explanations.get(row, method, index, rho or 0.0)
        ahead = job.done()
        try:
            picture = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(job)), PATIENCE)
            return _png(picture, request, {"X-Ahead": "yes" if ahead else "no"})
        except TimeoutError as error:
            raise HTTPException(503, "this explanation takes long; ask again.") from error

    @app.get("/api/progress")
    def progress(annotator: Annotator) -> dict[str, Any]:
        return service.progress(annotator)

    @app.get("/api/agreement")
    def agreement(_: Annotator) -> dict[str, Any]:
        return service.agreement()


def _add_annotations(app: FastAPI, service: AnnotationService) -> None:
    """What people say."""

    @app.put("/api/images/{key}/marks/{mark}")
    def put_mark(mark: str, body: MarkBody, opened: Opened, annotator: Annotator) -> Response:
        if not UUID.fullmatch(mark):
            raise InputError("a mark's id is a UUID in lower case.")
        width, height = service.size_of(opened)
        shape = shape_from_json({**body.shape, **({"aspect": height / width} if "radius" in body.shape else {})})
        record = Mark(opened, _class(body.class_name), body.kind, shape, annotator, id=mark)
        new = service.store.add_mark(record)
        return JSONResponse(mark_to_json(record), 201 if new else 200)

    @app.delete("/api/images/{key}/marks/{mark}")
    def undo_mark(mark: str, opened: Opened, annotator: Annotator) -> dict[str, Any]:
        return mark_to_json(service.store.undo_mark(opened, mark, annotator))

    @app.put("/api/images/{key}/verdicts/{index}")
    def put_verdict(index: int, body: VerdictBody, opened: Opened, annotator: Annotator) -> dict[str, Any]:
        if not 0 <= index < len(service.dataset.classes):
            raise HTTPException(404, f"classes are numbered from 0 to {len(service.dataset.classes) - 1}.")
        name = service.dataset.classes[index]
        if body.present is None:
            service.store.drop_verdict(opened, name, annotator)
        else:
            service.store.put_verdict(LabelAnswer(opened, name, body.present, annotator))
        return service.describe(opened, annotator)

    @app.put("/api/images/{key}/note")
    def put_note(body: NoteBody, opened: Opened, annotator: Annotator) -> dict[str, Any]:
        service.store.put_note(Note(opened, body.text, annotator))
        return service.describe(opened, annotator)

    @app.put("/api/images/{key}/state")
    def put_state(body: StateBody, opened: Opened, annotator: Annotator) -> dict[str, Any]:
        service.close_image(opened, annotator, body.state)
        return service.describe(opened, annotator)

    def _class(name: str) -> str:
        if name not in service.dataset.classes:
            raise InputError(f"unknown class {name[:60]!r}. There are: {', '.join(service.dataset.classes)}.")
        return name


def _add_suspect(app: FastAPI, suspect: SuspectPage) -> None:
    """One mark for all images that show a suspect."""

    @app.get("/api/suspect")
    def about(annotator: Annotator) -> dict[str, Any]:
        return suspect.about(annotator)

    @app.get("/api/suspect/pictures/{place}.png")
    def picture(place: int) -> Response:
        png = suspect.picture(place)
        if png is None:
            raise HTTPException(404, "there is no such picture.")
        return Response(png, media_type="image/png", headers={"Cache-Control": "private, no-cache"})

    @app.put("/api/suspect")
    def accept(body: SuspectBody, annotator: Annotator) -> dict[str, Any]:
        return suspect.accept(None if body.box is None else [Box(*body.box)], annotator)

    @app.delete("/api/suspect")
    def undo(annotator: Annotator) -> dict[str, Any]:
        return suspect.undo(annotator)


async def _annotator(request: Request) -> str:
    """The annotator of a request; async, since nothing in it waits, and a thread would be waited for.

    Raises:
        HTTPException: 401 where it names none, or was made by a page of another name than the browser's cookie.
    """
    name, speaker = visitor_of(request).annotator, request.headers.get("x-annotator")
    if name is None:
        raise HTTPException(401, "say who you are first: POST /api/session with {'annotator': NAME}.")
    if speaker is not None and unquote(speaker) != name:
        raise HTTPException(401, "this page is another person's than the browser is signed in for: load it again.")
    return name


Annotator = Annotated[str, Depends(_annotator)]


def _opened(key: str, request: Request, annotator: Annotator) -> str:
    """The id of an image that was offered to this annotator, now or before a start with other images.

    Raises:
        HTTPException: 404 for an image that is not there, 403 for one that was not offered.
    """
    service: AnnotationService = request.app.state.service
    image = service.image_of(key)
    if image is None:
        raise HTTPException(404, "there is no such image.")
    if service.store.state(image, annotator) is None:
        raise HTTPException(403, "this image was not offered to you.")
    return image


Opened = Annotated[str, Depends(_opened)]


def _seen(opened: Opened, request: Request) -> str:
    """The id of an image that was offered to this annotator and may be looked at.

    Raises:
        HTTPException: 404 for one that is not among the images offered now.
    """
    if not request.app.state.service.offers(opened):
        raise HTTPException(404, "this image is not among those that are offered now.")
    return opened


Seen = Annotated[str, Depends(_seen)]


def _png(picture: Picture, request: Request, more: dict[str, str] | None = None) -> Response:
    headers = {**picture.headers, **(more or {}), "ETag": picture.etag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == picture.etag:
        return Response(status_code=304, headers=headers)
    return Response(picture.png, media_type="image/png", headers=headers)


def _error(status: int, message: str) -> JSONResponse:
    log.info("%d: %s", status, message)
    return JSONResponse({"error": message}, status)
