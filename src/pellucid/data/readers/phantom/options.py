"""What a phantom may be asked to be: its options, and errors that say how to mend them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES, Finding, attributes, attributes_of
from pellucid.data.readers.phantom.shortcuts import WITH_REGION
from pellucid.utils.resources import nearest
from pellucid.utils.settings import Section, validate


class PlantedShortcut(Section):
    """How one shortcut goes with a finding, image by image; all images are drawn independently.

    Of all images the share ``p · strength + (1 - p) · elsewhere`` has it, where p is the finding's prevalence.
    """

    finding: str = Field(description="The finding that it goes with.")
    strength: float = Field(
        0.95, ge=0, le=1, description="Probability of the shortcut on an image with the finding, P(shortcut given it)."
    )
    elsewhere: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Probability of the shortcut on an image without the finding. None for 1 − `strength`.",
    )
    associated_in_test: bool = Field(
        False,
        description="Whether the same holds in test; otherwise half of the test images have it, whatever they show.",
    )

    @field_validator("finding")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PHANTOM_CLASSES:
            raise ValueError(f"unknown finding. {nearest(value, PHANTOM_CLASSES)}")
        return value

    def lies(self, number: float, present: Collection[str], split: str) -> bool:
        """Whether an image of a part has it, by a number uniform in [0, 1) and the findings that the image shows."""
        if split == "test" and not self.associated_in_test:
            return number < 0.5
        if self.finding in present:
            return number < self.strength
        return number >= (self.strength if self.elsewhere is None else 1 - self.elsewhere)


class PlantedShortcuts(Section):
    """Which shortcuts are planted: each kind at most once, independently of one another."""

    letter: PlantedShortcut | None = Field(None, description="A letter L of lead beside the patient's left shoulder.")
    side_marker: PlantedShortcut | None = Field(
        None, description="A ring of lead with a bead in it, anywhere along the left or right margin."
    )
    tube: PlantedShortcut | None = Field(
        None, description="A feeding tube down the midline, into the stomach below the left lung."
    )
    frame: PlantedShortcut | None = Field(None, description="A white frame around the image, as of a scanned film.")
    collimator: PlantedShortcut | None = Field(
        None, description="The dark shadow of a collimator's blade along the left or right margin."
    )
    brightness: PlantedShortcut | None = Field(None, description="A brighter image: grey levels .10 to .14 higher.")
    noise: PlantedShortcut | None = Field(
        None, description="Grain on top of the film's own, about three times as strong."
    )
    jpeg: PlantedShortcut | None = Field(
        None, description="What compression by JPEG leaves at a quality of 15 to 29: blocks of 8 pixels, no fine grain."
    )


class Reason(Section):
    """Why something that is drawn counts as its finding: the sum of weight · (attribute − ½) is above 0.

    Each attribute lies between 0 and 1, uniform over images, so that about half of what is drawn counts.
    """

    size: float = Field(0.0, allow_inf_nan=False, description="Weight of its size, 0 the smallest and 1 the largest.")
    density: float = Field(
        0.0, allow_inf_nan=False, description="Weight of how dense it is (a pneumothorax: how dark), 0 the least."
    )
    side: float = Field(0.0, allow_inf_nan=False, description="Weight of its side, 0 the image's left and 1 its right.")

    def holds(self, finding: Finding) -> bool:
        """Whether a finding that is drawn counts."""
        weights: dict[str, float] = self.model_dump()
        return sum(weights[name] * (value - 0.5) for name, value in attributes(finding).items()) > 0


class Reasons(Section):
    """By finding, why it counts; without one all that is drawn does."""

    Atelectasis: Reason | None = Field(None, description="By its size, density and side.")
    Cardiomegaly: Reason | None = Field(None, description="By its size.")
    Effusion: Reason | None = Field(None, description="By its size and side.")
    Infiltration: Reason | None = Field(None, description="By its size, density and side.")
    Mass: Reason | None = Field(None, description="By its size, density and side.")
    Nodule: Reason | None = Field(None, description="By its size, density and side.")
    Pneumonia: Reason | None = Field(None, description="By its size, density and side.")
    Pneumothorax: Reason | None = Field(None, description="By its size, density and side.")

    @field_validator(*PHANTOM_CLASSES)
    @classmethod
    def _told(cls, value: Reason | None, info: ValidationInfo) -> Reason | None:
        if value is None:
            return None
        own = attributes_of(str(info.field_name))
        weighted = [name for name, weight in value.model_dump().items() if weight]
        other = [name for name in weighted if name not in own]
        if other:
            raise ValueError(f"its {other[0]} does not vary. Give a weight to: {', '.join(own)}")
        if not weighted:
            raise ValueError(f"no attribute has a weight other than 0. Give one to: {', '.join(own)}")
        return value

    def holds(self, finding: Finding) -> bool:
        """Whether a finding that is drawn counts."""
        reason: Reason | None = getattr(self, finding.label)
        return reason is None or reason.holds(finding)


class VisibleShortcut(NamedTuple):
    """A planted shortcut that lies somewhere: the label of its regions, and the finding that it goes with."""

    label: str
    finding: str


class PhantomOptions(Section):
    """What a phantom is made of.

    Raises:
        InputError: from `parse`, naming the option, the value found and what is expected.
    """

    size: int = Field(128, ge=32, le=2048, description="Height and width of an image in pixels.")
    train: int = Field(1200, ge=1, description="Number of training images.")
    validation: int = Field(300, ge=1, description="Number of validation images.")
    test: int = Field(400, ge=1, description="Number of test images.")
    prevalence: float = Field(0.15, gt=0, lt=1, description="Probability of each finding, independently of the others.")
    contrast: float = Field(
        1.0, gt=0, le=4, description="Strength of the findings; 1 is clear to a person who looks. Masks stay."
    )
    shortcuts: PlantedShortcuts = Field(PlantedShortcuts(), description="What is planted, by kind; none at first.")
    reasons: Reasons = Field(Reasons(), description="Why findings count, by finding; at first all that are drawn do.")

    @classmethod
    def parse(cls, options: PhantomOptions | Mapping[str, Any] | None) -> PhantomOptions:
        """Options from a mapping; None gives the defaults.

        Raises:
            InputError: naming each wrong option, the value found and what is expected.

        Example:
            >>> PhantomOptions.parse({"size": 64}).size
            64
        """
        return options if isinstance(options, PhantomOptions) else validate(cls, options, "options of phantom")

    def text(self, *, counts: bool = True) -> str:
        """The options as JSON that names a phantom: without reasons where there are none, as before there were any.

        Args:
            counts: with the numbers of images, on which no image depends.
        """
        left_out = set() if counts else {"train", "validation", "test"}
        return self.model_dump_json(exclude=left_out | (set() if self.reasons != Reasons() else {"reasons"}))


def visible_shortcut(options: Mapping[str, Any]) -> VisibleShortcut | None:
    """The first shortcut with regions that a dataset's options plant; None without one.

    Example:
        >>> visible_shortcut({"shortcuts": {"jpeg": {"finding": "Mass"}, "tube": {"finding": "Nodule"}}})
        VisibleShortcut(label='tube', finding='Nodule')
        >>> visible_shortcut({"size": 64}) is None
        True
    """
    planted = options.get("shortcuts")
    if not isinstance(planted, Mapping):
        return None
    for kind in WITH_REGION:
        if isinstance(settings := planted.get(kind), Mapping) and "finding" in settings:
            return VisibleShortcut(kind, str(settings["finding"]))
    return None
