"""Which attack of a given size: what ``autoattack:linf=8/255`` says."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import model_validator

from pellucid.attacks.epsilon import Epsilon
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.settings import validate

BoundedMethod = Literal["margin", "autoattack", "pgd", "fgsm"]
METHOD_NAMES: tuple[str, ...] = get_args(BoundedMethod)
TITLES = {"margin": "", "autoattack": "AutoAttack ", "pgd": "PGD ", "fgsm": "FGSM "}


class BoundedAttack(Epsilon):
    """An attack and its size, on pixels in [0, 1].

    `margin` is the default, the strongest that is affordable; `autoattack` the standard ensemble of Croce & Hein 2020;
    `pgd` and `fgsm` raise the task's loss by several steps and by one.

    Example:
        >>> print(BoundedAttack(linf=0.01), "|", BoundedAttack(l2=0.5, method="pgd"))
        L∞ 0.01 | PGD L2 0.5
    """

    method: BoundedMethod = "margin"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, str):
            return value
        try:
            return cls.parse(value).model_dump()
        except InputError as error:
            raise ValueError(str(error).rstrip(".")) from error

    @classmethod
    def parse(cls, text: str) -> BoundedAttack:
        """What ``METHOD:NORM=LENGTH`` says; without a method the default one. The length may be a fraction.

        Raises:
            InputError: another method or norm, or a length that is none.

        Example:
            >>> BoundedAttack.parse("autoattack:linf=8/255").method, str(BoundedAttack.parse("l2=0.5"))
            ('autoattack', 'L2 0.5')
        """
        method, colon, size = text.rpartition(":")
        method = method.strip()
        if colon and method not in METHOD_NAMES:
            raise InputError(f"unknown attack {method!r}. {nearest(method, METHOD_NAMES)}")
        if (name := text.strip().rstrip(":")) in METHOD_NAMES:
            raise InputError(f"an attack has a size: write {name}:linf=8/255, or another size, instead of {text!r}.")
        values = Epsilon.parse(size).model_dump()
        return validate(cls, values | ({"method": method} if colon else {}), f"the attack {text!r}")

    @classmethod
    def of(cls, attack: Epsilon | str) -> BoundedAttack:
        """An attack from a text or from a size alone."""
        if isinstance(attack, BoundedAttack):
            return attack
        return cls.parse(attack) if isinstance(attack, str) else cls(**attack.model_dump())

    def __str__(self) -> str:
        return f"{TITLES[self.method]}{super().__str__()}"
