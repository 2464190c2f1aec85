"""Which attack of a given size: what ``autoattack:linf=8/255`` says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from pydantic import model_validator

from pellucid.attacks.epsilon import Epsilon
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.settings import split_names, validate

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
    def of(cls, eps: Epsilon | str) -> BoundedAttack:
        """An attack from a text or from a size alone.

        Raises:
            InputError: something else, as a number, which names no norm; a text that is no attack.
        """
        one = super().of(eps)
        return one if isinstance(one, BoundedAttack) else cls(**one.model_dump())

    @classmethod
    def each(cls, attacks: Epsilon | str | Iterable[Epsilon | str]) -> list[BoundedAttack]:
        """One attack or several; a text may name several, with commas between them.

        Raises:
            InputError: one that is none.

        Example:
            >>> [str(attack) for attack in BoundedAttack.each("l2=0.5, pgd:linf=0.01")]
            ['L2 0.5', 'PGD L∞ 0.01']
        """
        if isinstance(attacks, str):
            return [cls.parse(text) for text in split_names(attacks)]
        if isinstance(attacks, Epsilon) or not isinstance(attacks, Iterable):  # a section iterates over its keys
            return [cls.of(attacks)]
        return [cls.of(attack) for attack in attacks]

    def __str__(self) -> str:
        return f"{TITLES[self.method]}{super().__str__()}"
