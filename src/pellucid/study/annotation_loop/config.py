"""What a study with a section `[loop]` does: who marks what, how often, and what is trained with it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pellucid.utils.settings import Section

Acquisition = Literal["uncertainty", "outside", "random", "mixed"]
BASE = "cheating"
"""What the network is called that was trained with the shortcut and without annotations."""


class ArmSettings(Section):
    """One way of choosing and using annotations."""

    label: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._=,-]*$", description="its name in tables and file names")
    acquisition: Acquisition = Field("mixed", description="which images are offered first, as `annotate serve --order`")
    marks: bool = Field(
        True, description="train with the marks; false keeps the images and their labels alone, as a control"
    )


class LoopSettings(Section):
    """The annotation loop: a network that cheats is explained, marked by a simulated annotator, and trained again."""

    numbers: tuple[int, ...] = Field(
        (10, 30, 100), min_length=1, description="of marked images that are trained with, each with the ones before"
    )
    aim: int = Field(30, description="the number that the conclusion speaks of")
    recipe: str = Field("annotated", description="of the training with annotations")
    settings: dict[str, Any] = Field(default_factory=dict, description="laid over that recipe")
    others: int = Field(300, ge=1, description="images without annotations in that training, drawn with the seed")
    arms: tuple[ArmSettings, ...] = Field(min_length=2, description="the first without marks is the control")

    @field_validator("numbers")
    @classmethod
    def _ascending(cls, numbers: tuple[int, ...]) -> tuple[int, ...]:
        if list(numbers) != sorted(set(numbers)) or numbers[0] < 1:
            raise ValueError(f"numbers of images ascend, from 1; found {', '.join(map(str, numbers))}")
        return numbers

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.aim not in self.numbers:
            raise ValueError(f"aim must be one of numbers, {', '.join(map(str, self.numbers))}; found {self.aim}")
        labels = [arm.label for arm in self.arms]
        if len({label.replace(" ", "-") for label in labels}) < len(labels):  # they name folders
            raise ValueError(f"every arm needs a label of its own; found {', '.join(labels)}")
        if {arm.marks for arm in self.arms} != {True, False}:
            raise ValueError("there must be an arm with marks, and one without (marks = false), to hold it against")
        return self

    @property
    def control(self) -> ArmSettings:
        """The arm without marks that the others are held against."""
        return next(arm for arm in self.arms if not arm.marks)

    @property
    def marking(self) -> tuple[ArmSettings, ...]:
        """The arms with marks."""
        return tuple(arm for arm in self.arms if arm.marks)
