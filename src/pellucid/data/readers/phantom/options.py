"""What a phantom may be asked to be: its options, and errors that say how to mend them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.utils.resources import nearest
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    shortcut: str | None = Field(
        None,
        description="A finding that a marker (a letter L) goes with in training and validation, not in test.",
    )
    shortcut_strength: float = Field(
        0.95, ge=0.5, le=1, description="Probability that the marker and its finding agree, outside test."
    )

    @field_validator("shortcut")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in PHANTOM_CLASSES:
            raise ValueError(f"unknown finding. {nearest(value, PHANTOM_CLASSES)}")
        return value

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
