"""An annotator who knows the truth: looks at the images that a server offers and marks them, by HTTP alone."""

from __future__ import annotations

import hashlib
import http.cookiejar
import io
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from PIL import Image

from pellucid.annotator.explanations import LARGEST, to_8_bit
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.annotations.records import Kind
    from pellucid.data.dataset import Dataset

Frame = tuple[float, float, float, float]  # x, y, width, height in fractions of the image

MARGIN = 1.0  # pixels of the image that a rectangle is drawn larger than what it surrounds, on each side
SECONDS = 120  # that an answer may take


@dataclass(frozen=True)
class Sight:
    """What there is to see on an image.

    Attributes:
        present: whether it shows the class.
        frames: by kind of mark, around what is irrelevant and what is relevant to the class.
    """

    present: bool
    frames: dict[Kind, tuple[Frame, ...]]


class Truth:
    """What is on a dataset's images, for one who recognises an image by its pixels.

    Args:
        dataset: images with regions, as they are offered.
        class_name: the class that marks are about; its own regions are relevant.
        irrelevant: the label of regions that are not.

    Raises:
        InputError: images without any such regions, or larger than a server shows them.
    """

    def __init__(self, dataset: Dataset, class_name: str, irrelevant: str) -> None:
        kinds: dict[str, Kind] = {irrelevant: "irrelevant", class_name: "relevant"}
        labelled = {row for row, _ in dataset.regions.pairs(list(kinds))} if dataset.regions else set()
        if dataset.regions is None or not labelled:
            raise InputError(f"{dataset.card.name}/{dataset.split} marks neither {class_name!r} nor {irrelevant!r}.")
        frames_of: dict[int, dict[Kind, list[Frame]]] = {}
        for region in dataset.regions.items:
            if region.label in kinds:
                frames = frames_of.setdefault(region.image, {"irrelevant": [], "relevant": []})
                frames[kinds[region.label]].append(region.box)
        self.class_name = class_name
        column = dataset.classes.index(class_name)
        self._sights: dict[str, Sight] = {}
        for row in sorted(labelled):
            pixels = to_8_bit(dataset.read(row))
            if max(pixels.shape[:2]) > LARGEST:
                raise InputError(f"images larger than {LARGEST} pixels are shown smaller, and not recognised.")
            regions = {kind: tuple(frames_of[row][kind]) for kind in frames_of[row]}
            self._sights[_digest(pixels)] = Sight(bool(dataset.targets[row, column] == 1), regions)

    def of(self, png: bytes) -> Sight | None:
        """What there is to see on a picture; None where nothing is to be marked."""
        with Image.open(io.BytesIO(png)) as picture:
            return self._sights.get(_digest(np.asarray(picture)))


class SimulatedVisitor:
    """A person at the server: says a name, or shows an invitation, and is known by a cookie from then on.

    Args:
        address: of the server, as ``http://127.0.0.1:8000``.
        name: of the person.
        invitation: a code of `people.invite`, for a name that was used before.
    """

    def __init__(self, address: str, name: str, invitation: str | None = None) -> None:
        self._address = address
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)  # this machine needs no proxy
        self.fetch("/")  # for the cookie
        body = {"annotator": name} if invitation is None else {"invitation": invitation}
        self.about = self.send("POST", "/api/session", body)

    def send(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401
        """Ask the server for JSON.

        Raises:
            InputError: with what it said, where it refuses.
        """
        return json.loads(self.fetch(path, method, None if body is None else json.dumps(body).encode()))

    def fetch(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        """Ask the server for anything; see `send`."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(self._address + path, body, headers, method=method)  # noqa: S310 (our own)
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            message = error.read().decode(errors="replace")
            raise InputError(f"{method} {path}: the annotation server answered {error.code}: {message}") from error


def annotate(
    address: str,
    truth: Truth,
    count: int,
    *,
    name: str = "simulated",
    invitation: str | None = None,
    pause: Callable[[], object] = lambda: None,
) -> int:
    """Mark images until `count` are done, in the order in which the server offers them; an interrupted one goes on.

    On each image the annotator draws rectangles around what is irrelevant and, over them, around what is relevant to
    the class, says whether the class is there, and is done; an image that has nothing to mark is skipped.

    Args:
        address: of the server.
        truth: what is on the images.
        count: how many images to mark.
        name: the annotator's.
        invitation: a code that invites under this name, which a session that goes on needs.
        pause: called after each image that is done, before the next is asked for: people take their time, in which the
            server arranges what follows.

    Returns:
        How many are done; fewer than `count` where no more are offered.

    Raises:
        InputError: if the server refuses something.
    """
    visitor = SimulatedVisitor(address, name, invitation)
    index = {c: i for i, c in enumerate(visitor.about["classes"])}[truth.class_name]
    while True:
        queue = visitor.send("GET", "/api/queue?count=1")
        count_done = int(queue["progress"]["mine"]["done"])
        if count_done >= count or not queue["images"]:
            return count_done
        image = queue["images"][0]
        place = f"/api/images/{image['id']}"
        sight = truth.of(visitor.fetch(f"{place}/pixels.png"))
        if sight is None:
            visitor.send("PUT", f"{place}/state", {"state": "skipped"})
            continue
        for kind, frames in sight.frames.items():
            for number, frame in enumerate(frames):
                mark = uuid5(NAMESPACE_URL, f"{image['id']}/{name}/{kind}/{number}")  # sent again, the same one
                shape = _rectangle(frame, image["width"], image["height"])
                body = {"class": truth.class_name, "kind": kind, "shape": shape}
                visitor.send("PUT", f"{place}/marks/{mark}", body)
        visitor.send("PUT", f"{place}/verdicts/{index}", {"present": "yes" if sight.present else "no"})
        visitor.send("PUT", f"{place}/state", {"state": "done"})
        pause()


def _rectangle(frame: Frame, width: int, height: int) -> dict[str, Any]:
    """A rectangle around a frame as the interface takes it, a little larger, and on the image."""
    x, y, across, down = frame
    left, top = max(x - MARGIN / width, 0.0), max(y - MARGIN / height, 0.0)
    right, bottom = min(x + across + MARGIN / width, 1.0), min(y + down + MARGIN / height, 1.0)
    return {"type": "rectangle", "x": left, "y": top, "width": right - left, "height": bottom - top}


def _digest(pixels: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
