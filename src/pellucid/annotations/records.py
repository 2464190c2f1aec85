"""What people say of a dataset's images: marks, verdicts and notes, and what training reads of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args
from uuid import uuid4

import numpy as np

from pellucid.annotations.shapes import shape_mask
from pellucid.data.placement import Placement
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from pellucid.annotations.shapes import Shape

Kind = Literal["relevant", "irrelevant"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Present = Literal["yes", "no", "unsure"]
PRESENT: tuple[Present, ...] = get_args(Present)
State = Literal["offered", "lapsed", "done", "skipped"]
STATES: tuple[State, ...] = get_args(State)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Mark:
    """A region of one image that is relevant, or irrelevant, to one class, as one person drew it.

    Attributes:
        image: the image's id in the dataset.
        class_name: the class that it speaks of.
        kind: `relevant` or `irrelevant`.
        shape: where, in fractions of the image's width and height.
        annotator: who drew it.
        created: when.
        undone: whether its author took it back.
        id: unique; whoever draws the mark chooses it, so that sending it twice adds it once.
    """

    image: str
    class_name: str
    kind: Kind
    shape: Shape
    annotator: str = ""
    created: datetime = field(default_factory=_now)
    undone: bool = False
    id: str = field(default_factory=lambda: str(uuid4()))

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a mark is relevant or irrelevant; found {self.kind!r}.")


@dataclass(frozen=True)
class LabelAnswer:
    """What one person says of a label of an image: the class is present, it is not, or it cannot be said."""

    image: str
    class_name: str
    present: Present
    annotator: str = ""
    created: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.present not in PRESENT:
            raise InputError(f"a verdict is yes, no or unsure; found {self.present!r}.")


@dataclass(frozen=True)
class Visit:
    """How far one person is with an image: it is open to them, it went to others meanwhile, it is done or skipped."""

    image: str
    state: State
    annotator: str = ""
    created: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise InputError(f"an image is offered, lapsed, done or skipped; found {self.state!r}.")


@dataclass(frozen=True)
class Note:
    """What one person wrote about an image; any text that UTF-8 holds, which is never run or rendered."""

    image: str
    text: str
    annotator: str = ""
    created: datetime = field(default_factory=_now)

    def __post_init__(self) -> None:
        if "\0" in self.text or self.text.encode("utf-8", "ignore").decode() != self.text:
            raise InputError("a note is text; found characters in it that are none.")


class AnnotationSet:
    """The marks and verdicts on some images, as training reads them.

    Several strokes of one person are painted in order, a later one over an earlier one. Of several people, a pixel is
    relevant where more of them painted it so than irrelevant, irrelevant in the opposite case, and neither at a tie; a
    label is what most of them say.

    Args:
        marks: those that were undone are left out.
        verdicts: `unsure` counts for neither side.
        suspects: of which suspects marks were made, and on how many images, each in a sentence for `run.toml`.

    Example:
        >>> from pellucid.annotations.shapes import Rectangle
        >>> left, top = Rectangle(0, 0, 0.5, 1), Rectangle(0, 0, 1, 0.5)
        >>> marks = [Mark("a", "Nodule", "relevant", left), Mark("a", "Nodule", "irrelevant", top)]
        >>> found = AnnotationSet(marks, [LabelAnswer("a", "Nodule", "yes")])
        >>> relevant, irrelevant = found.masks(["a", "b"], ["Nodule"], 2)
        >>> relevant[0, 0].astype(int).tolist(), irrelevant[0, 0].astype(int).tolist()
        ([[0, 0], [1, 0]], [[1, 1], [0, 0]])
        >>> found.labels(["a", "b"], ["Nodule"]).tolist()
        [[1.0], [nan]]
    """

    def __init__(
        self, marks: Iterable[Mark] = (), verdicts: Iterable[LabelAnswer] = (), suspects: Iterable[str] = ()
    ) -> None:
        self.marks = tuple(sorted((m for m in marks if not m.undone), key=lambda m: m.created))
        self.verdicts = tuple(sorted(verdicts, key=lambda v: v.created))
        self.suspects = tuple(suspects)
        self._drawn: dict[tuple[str, str], dict[str, list[Mark]]] = {}
        for mark in self.marks:
            self._drawn.setdefault((mark.image, mark.class_name), {}).setdefault(mark.annotator, []).append(mark)
        self._said: dict[tuple[str, str], dict[str, Present]] = {}
        for verdict in self.verdicts:
            self._said.setdefault((verdict.image, verdict.class_name), {})[verdict.annotator] = verdict.present

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The images that anyone marked or gave a verdict on, sorted."""
        return tuple(sorted({image for image, _ in (*self._drawn, *self._said)}))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that are spoken of anywhere, sorted."""
        return tuple(sorted({name for _, name in (*self._drawn, *self._said)}))

    def masks(
        self, ids: Sequence[str], classes: Sequence[str], frames: int | Sequence[Placement]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """What is relevant and what is irrelevant: two boolean (N, K, height, width), false where nobody marked.

        Args:
            ids: N images of the dataset, marked or not.
            classes: K class names.
            frames: where each image lies in what a network takes, N of one height and width; or a number for a square
                that all are stretched to.
        """
        places = [Placement.whole(frames, frames)] * len(ids) if isinstance(frames, int) else frames
        height, width = places[0].frame if places else (0, 0)
        votes = np.zeros((len(ids), len(classes), height, width), dtype=np.int16)
        for i, image in enumerate(ids):
            for k, name in enumerate(classes):
                for marks in self._drawn.get((image, name), {}).values():
                    votes[i, k] += draw_marks(marks, places[i])
        return votes > 0, votes < 0

    def labels(self, ids: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.float64]:
        """The labels as people see them, float (N, K): 1 present, 0 absent, NaN where nobody said or opinion is split.

        Args:
            ids: N images of the dataset.
            classes: K class names.
        """
        yes, no = self.votes(ids, classes)
        return np.where(yes == no, np.nan, (yes > no).astype(np.float64))

    def votes(self, ids: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """How many people say that a class is present, and how many that it is absent, int64 (2, N, K)."""
        counts = np.zeros((2, len(ids), len(classes)), dtype=np.int64)
        for i, image in enumerate(ids):
            for k, name in enumerate(classes):
                answers = list(self._said.get((image, name), {}).values())
                counts[:, i, k] = answers.count("yes"), answers.count("no")
        return counts


def draw_marks(marks: Iterable[Mark], placement: Placement) -> npt.NDArray[np.int8]:
    """One person's strokes on one image for one class, in order: 1 relevant, −1 irrelevant, 0 neither, (h, w)."""
    canvas = np.zeros(placement.frame, dtype=np.int8)
    for mark in marks:
        canvas[shape_mask(mark.shape, placement)] = 1 if mark.kind == "relevant" else -1
    return canvas
