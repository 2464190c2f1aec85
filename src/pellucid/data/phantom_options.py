"""What a phantom may be asked to be: its options, and errors that say how to mend them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pellucid.data.phantom_findings import PHANTOM_CLASSES
from pellucid.types import InputError


class PhantomOptions(BaseModel):
    """What a phantom is made of.

    Raises:
        InputError: from `parse`, naming the option, the value found and what is expected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(128, ge=32, le=2048, description="Height and width of an image in pixels.")
    train: int = Field(1200, ge=1, description="Number of training images.")
    validation: int = Field(300, ge=1, description="Number of validation images.")
    test: int = Field(400, ge=1, description="Number of test images.")
    prevalence: float = Field(
        0.15, gt=0, lt=1, description="Probability of each finding, independently of the others."
    )
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
            by_case = {name.lower(): name for name in PHANTOM_CLASSES}
            near = difflib.get_close_matches(value.lower(), by_case, n=1, cutoff=0.5)
            hint = f"did you mean {by_case[near[0]]!r}? " if near else ""
            raise ValueError(f"unknown finding; {hint}The findings are {', '.join(PHANTOM_CLASSES)}")
        return value

    @classmethod
    def parse(cls, options: PhantomOptions | Mapping[str, Any] | None) -> PhantomOptions:
        """Options from a mapping; None gives the defaults.

        Raises:
            InputError: naming each wrong option, the value found and what is expected.

        Example:
            >>> PhantomOptions.parse({"size": 64}).size
            64
            >>> PhantomOptions.parse({"size": 8})
            Traceback (most recent call last):
            ...
            pellucid.types.InputError: phantom option 'size': found 8; input should be greater than or equal \
to 32.
        """
        if isinstance(options, cls):
            return options
        if options is not None and not isinstance(options, Mapping):
            raise InputError(f"phantom options must be a mapping; found {type(options).__name__}.")
        try:
            return cls.model_validate(dict(options or {}))
        except ValidationError as error:
            raise InputError(
                "\n".join(_explain(e["loc"], e["input"], e["msg"]) for e in error.errors())
            ) from None


def _explain(where: tuple[int | str, ...], found: object, message: str) -> str:
    key = ".".join(str(part) for part in where)
    if key not in PhantomOptions.model_fields:
        near = difflib.get_close_matches(key, PhantomOptions.model_fields, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"phantom has no option {key!r}; {hint}It has: {', '.join(PhantomOptions.model_fields)}."
    message = message.removeprefix("Value error, ")
    return f"phantom option {key!r}: found {found!r}; {message[0].lower()}{message[1:]}."
