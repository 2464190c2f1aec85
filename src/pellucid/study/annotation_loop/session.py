"""One annotation session of the loop: the real server, the simulated annotator, and what training reads of it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.annotations.records import AnnotationSet
from pellucid.types import InputError
from pellucid.utils.resources import optional

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pellucid.annotator.service import AnnotationService
    from pellucid.data.dataset import Dataset
    from pellucid.data.readers.phantom.options import VisibleShortcut
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.annotation_loop.config import Acquisition

ANNOTATOR = "simulated"


@dataclass(frozen=True)
class AnnotationSequence:
    """What an annotator left in a database, in the order of the images.

    Attributes:
        image_ids: ids of the images that were marked, the first one first.
        looked_at: how many images had been looked at when each of these was done, those skipped among them.
        annotations: all of them.
    """

    image_ids: tuple[str, ...]
    looked_at: tuple[int, ...]
    annotations: AnnotationSet

    def first(self, count: int, *, marks: bool = True) -> AnnotationSet:
        """The annotations of the first images; without their marks, what was said of their labels alone.

        Raises:
            InputError: if fewer were marked.
        """
        if count > len(self.image_ids):
            raise InputError(
                f"only {len(self.image_ids)} images show what there is to mark, {count} are asked for: give the "
                "dataset more training images (data.options.train), or ask for fewer (loop.numbers)."
            )
        names = set(self.image_ids[:count])
        return AnnotationSet(
            (m for m in self.annotations.marks if marks and m.image in names),
            (v for v in self.annotations.verdicts if v.image in names),
        )


def hold_session(
    dataset: Dataset,
    network: ConvolutionalClassifier,
    source: Path,
    *,
    order: Acquisition,
    planted: VisibleShortcut,
    count: int,
    seed: int,
    cache: Path | None,
) -> None:
    """Serve images to the simulated annotator until `count` are marked; one that was interrupted goes on.

    Args:
        dataset: the images, with the regions of the finding and of the marker.
        network: what explains itself.
        source: the annotation database.
        order: which images are offered first.
        planted: the marker, and the finding that marks are about.
        count: how many images to mark.
        seed: of the order.
        cache: folder for decoded images.
    """
    for module in ("fastapi", "uvicorn", "sqlalchemy"):
        optional(module, "annotate", "a study with [loop]")
    from pellucid.annotations.people import invite
    from pellucid.annotator.setup import ServiceOptions, open_service
    from pellucid.annotator.simulated import Truth, annotate
    from pellucid.annotator.worker import IDLE

    if source.is_file() and len(read_session(source).image_ids) >= count:
        return
    source.parent.mkdir(parents=True, exist_ok=True)
    # nobody looks at moved images here, so none is made ahead
    service = open_service(
        dataset, network, source, options=ServiceOptions(order=order, seed=seed, rhos=(), cache=cache)
    )
    try:
        with _served(service) as address:
            worker = service.explanations.worker
            annotate(
                address,
                Truth(dataset, planted.finding, planted.label),
                count,
                name=ANNOTATOR,
                invitation=invite(service.store, ANNOTATOR),
                # what follows is arranged by then, as for people, so that a session comes out the same every time
                pause=lambda: worker.submit(lambda: None, IDLE).result(),
            )
    finally:
        service.close()


def read_session(source: Path) -> AnnotationSequence:
    """What the simulated annotator left in a database."""
    from pellucid.annotations.store import open_store

    with open_store(source) as store:
        visits = sorted(
            (v for v in store.visits(ANNOTATOR) if v.state != "offered"), key=lambda v: (v.created, v.image)
        )
        annotations = store.annotations()
    places = [place for place, visit in enumerate(visits) if visit.state == "done"]
    return AnnotationSequence(tuple(visits[p].image for p in places), tuple(p + 1 for p in places), annotations)


@contextmanager
def _served(service: AnnotationService) -> Iterator[str]:
    """The annotation server on a free port of this machine, in a thread of its own; yields its address."""
    from pellucid.annotator.server import create_app
    from pellucid.annotator.serving import make_server, server_access

    access = server_access("127.0.0.1", 0)
    server = make_server(create_app(service, access.gate, local=access.local))
    thread = threading.Thread(
        target=lambda: server.run(sockets=[access.listening]), name="annotation-server", daemon=True
    )
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield access.base
    finally:
        server.should_exit = True
        thread.join(30)
