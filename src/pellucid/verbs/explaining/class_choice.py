"""Which classes are explained on each image: names, all, the most probable, the true one, the strongest rival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.types import InputError
from pellucid.utils.resources import check_known
from pellucid.utils.settings import name_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.types import Task

ROLES = ("true", "predicted", "second")
"""What a class may be to an image: its real one, the most confident one, the most confident that it is not."""


@dataclass(frozen=True)
class ClassChoice:
    """Which classes are meant.

    Attributes:
        parts: `all`, `top3`, roles and class names, in the order given.
        classes: of the classifier.
        task: of the classifier.
    """

    parts: tuple[str, ...]
    classes: tuple[str, ...]
    task: Task

    def of(self, probabilities: Sequence[float], truth: Sequence[int] | None = None) -> list[int]:
        """The classes meant for an image, each once, in the order given.

        Args:
            probabilities: the probability of each class.
            truth: the classes that the image shows, or None where that is not known.
        """
        ranked = sorted(range(len(self.classes)), key=lambda c: -probabilities[c])
        indices: list[int] = []
        for part in self.parts:
            if part in self.classes:
                indices.append(self.classes.index(part))
            elif part == "all":
                indices += range(len(self.classes))
            elif part in ROLES:
                indices += self.roles(probabilities, truth).get(part, [])
            else:
                indices += ranked[: int(part.removeprefix("top"))]
        return list(dict.fromkeys(indices))

    def roles(self, probabilities: Sequence[float], truth: Sequence[int] | None = None) -> dict[str, list[int]]:
        """The classes that have a role on an image.

        `second` is the most confident class other than the true ones; other than the predicted one where the truth is
        not known. A multi-label image may show no class, or several: then `true` is empty, or several.
        """
        ranked = sorted(range(len(self.classes)), key=lambda c: -probabilities[c])
        true_classes = ranked[:1] if truth is None else list(truth)
        rivals = [c for c in ranked if c not in true_classes]
        by_role = {"predicted": ranked[:1], "second": rivals[:1]}
        return by_role if truth is None else {"true": true_classes, **by_role}


def parse_classes(text: str | Sequence[str], classes: tuple[str, ...], task: Task, *, truth: bool) -> ClassChoice:
    """Read which classes are wanted; a class that is called like a role or like `all` is meant itself.

    Args:
        text: parts, or one text with commas between them, as `split_names` reads it.
        classes: of the classifier.
        task: of the classifier.
        truth: whether the images' labels are known.

    Raises:
        InputError: an unknown name, with the nearest one; `true` where no labels are known.
    """
    parts = name_list(text)
    unknown = [p for p in parts if p not in classes and p not in (*ROLES, "all") and not _is_top(p)]
    if unknown or not parts:
        try:
            check_known(unknown, [*classes, "all", "top3", *ROLES], "class")
        except InputError as error:
            if not any("," in name for name in classes):
                raise
            raise InputError(f"{error} A name that holds a comma stands in double quotes, as '\"a, b\",c'.") from error
    choice = ClassChoice(tuple(parts), classes, task)
    if "true" in parts and "true" not in classes and not truth:
        raise InputError(
            "the true class of an image file is not known: explain images of a dataset (--data NAME --root DIR), "
            "or ask for predicted,second."
        )
    return choice


def _is_top(part: str) -> bool:
    return part.startswith("top") and part[3:].isdigit() and int(part[3:]) > 0
