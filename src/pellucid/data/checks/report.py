"""What a check of a dataset found: counts of each part, and every file with something wrong."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pellucid.data.issues import MISSING

if TYPE_CHECKING:
    from pellucid.data.issues import Issue


@dataclass(frozen=True)
class PartReport:
    """What is in one part of a dataset.

    Attributes:
        images: how many images it has.
        patients: how many patients.
        labels: images of each class.
        unknown: images of which a class is unknown (NaN), by class; only classes with any.
        regions: marked places of each label.
    """

    images: int
    patients: int
    labels: dict[str, int]
    unknown: dict[str, int] = field(default_factory=dict)
    regions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        dataset: the dataset's name.
        root: its folder; empty where it is built in.
        parts: what is in each part.
        problems: what must be mended: file and reason.
        notes: what is worth knowing: file and reason.
        split_hash: hash of which image of which patient is in which part.
        content_hash: hash of the decoded pixels of all images and masks, with their names and parts: equal on two
            machines where they read the same; empty where an image cannot be read.
        left_out: whether the folder holds files that were not looked at; notes say which.

    Example:
        >>> from pellucid.data import check_dataset
        >>> report = check_dataset("phantom", options={"size": 32, "train": 4, "validation": 2, "test": 2})
        >>> report.ok, report.found, report.parts["train"].images
        (True, 8, 4)
    """

    dataset: str
    root: str
    parts: dict[str, PartReport] = field(default_factory=dict)
    problems: tuple[Issue, ...] = ()
    notes: tuple[Issue, ...] = ()
    split_hash: str = ""
    content_hash: str = ""
    left_out: bool = False

    @property
    def found(self) -> int:
        """Images in all parts."""
        return sum(part.images for part in self.parts.values())

    @property
    def expected(self) -> int:
        """Images in all parts, with those that the dataset's lists name but its folder lacks."""
        return self.found + sum(issue.reason == MISSING for issue in self.problems)

    @property
    def ok(self) -> bool:
        """Whether nothing needs mending."""
        return not self.problems

    def to_json(self) -> str:
        """The report as indented JSON."""

        def rows(issues: tuple[Issue, ...]) -> list[dict[str, str]]:
            return [{"file": f.file, "reason": f.reason} for f in issues]

        report = {
            "dataset": self.dataset,
            "root": self.root,
            "ok": self.ok,
            "images_found": self.found,
            "images_expected": self.expected,
            "left_out": self.left_out,
            "split_hash": self.split_hash,
            "content_hash": self.content_hash,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "problems": rows(self.problems),
            "notes": rows(self.notes),
        }
        return json.dumps(report, indent=2, ensure_ascii=False)

    def rows(self, most_classes: int) -> list[list[str]]:
        """Its counts as text, a column for each part: images, patients, the first classes, marked places by label."""
        parts = self.parts.values()
        labels = list(dict.fromkeys(label for part in parts for label in part.labels))
        regions = list(dict.fromkeys(label for part in parts for label in part.regions))
        rows = [["images", *(str(p.images) for p in parts)], ["patients", *(str(p.patients) for p in parts)]]
        rows += [[label, *(str(p.labels.get(label, 0)) for p in parts)] for label in labels[:most_classes]]
        if len(labels) > most_classes:
            rows.append([f"… and {len(labels) - most_classes:,} more classes; check.json has all"])
        return rows + [[f"marked: {label}", *(str(p.regions.get(label, 0)) for p in parts)] for label in regions]
