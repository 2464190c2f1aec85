"""What a study trains: the recipe of every variant, and which network each starts from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.training.network import REPLACED
from pellucid.training.recipe import Recipe, load_recipe, recipe_names
from pellucid.types import InputError
from pellucid.utils.resources import find_toml, nearest
from pellucid.utils.settings import merge

if TYPE_CHECKING:
    from pellucid.study.config import StudyConfig


@dataclass(frozen=True)
class Stage:
    """One training of a study, whatever its seed.

    Attributes:
        label: of the variant; of a base that is no variant, the name of its recipe.
        recipe: with all that the study changes in it; of one with a base, shortened as its `fine_tuning` says.
        base: the training whose network it starts from; None where it starts afresh.
    """

    label: str
    recipe: Recipe
    base: Stage | None = None


def stages_of(study: StudyConfig) -> list[Stage]:
    """The variants of a study, in order. A base that is a variant, or has a variant's recipe, is that variant's stage.

    Raises:
        InputError: an unknown recipe or base, bases that go round in a circle, or a variant whose recipe asks for
            another network than the one that it starts from.
    """
    planner = _Planner(study)
    return [planner.variant(v.label, ()) for v in study.variants]


class _Planner:
    def __init__(self, study: StudyConfig) -> None:
        self.common: dict[str, Any] = _copied(study.settings)
        self.variants = {v.label: v for v in study.variants}
        self.done: dict[str, Stage] = {}

    def variant(self, label: str, above: tuple[str, ...]) -> Stage:
        """A variant's stage; `above` are those that start from it."""
        if label not in self.done:
            variant = self.variants[label]
            settings = _copied(variant.settings)
            recipe = load_recipe(variant.recipe, settings=settings, common=self.common)
            name = variant.init or recipe.init
            if name:
                recipe = load_recipe(variant.recipe, settings=settings, common=self.common, fine_tuning=True)
            self.done[label] = self._stage(label, recipe, name, above)
        return self.done[label]

    def _stage(self, label: str, recipe: Recipe, name: str, above: tuple[str, ...]) -> Stage:
        if not name:
            return Stage(label, recipe)
        chain = (*above, label)
        if name in chain:
            raise InputError(f"{name} starts from itself: {' → '.join((*chain, name))}. Change an init.")
        base = self.variant(name, chain) if name in self.variants else self._recipe(name, chain)
        stage = Stage(label, recipe.model_copy(update={"init": base.label}), base)
        _check_network(stage)
        return stage

    def _recipe(self, name: str, above: tuple[str, ...]) -> Stage:
        """The stage of a base that is named by its recipe: a variant's where one has the same recipe."""
        try:
            find_toml(name, "recipes")
        except InputError as error:
            choices = [*(label for label in self.variants if label != above[-1]), *recipe_names()]
            message = f"init of {above[-1]}: {name!r} is neither a variant nor a recipe. {nearest(name, choices)}"
            raise InputError(message) from error
        recipe = load_recipe(name, common=self.common)
        for label, variant in self.variants.items():
            if label in above or variant.init:
                continue
            if load_recipe(variant.recipe, settings=_copied(variant.settings), common=self.common) == recipe:
                return self.variant(label, above)
        if as_folder(recipe.name) in map(as_folder, self.variants):
            raise InputError(
                f"init of {above[-1]}: the recipe {recipe.name} is trained as a base, and another variant is called "
                "so. Give that variant another label, or both the same settings."
            )
        if recipe.init:
            recipe = load_recipe(name, common=self.common, fine_tuning=True)
        return self._stage(recipe.name, recipe, recipe.init, above)


def as_folder(label: str) -> str:
    """The name that a folder of runs begins with.

    Example:
        >>> as_folder("robust 0.01")
        'robust-0.01'
    """
    return re.sub(r"[^A-Za-z0-9._=-]", "-", label)


def _check_network(stage: Stage) -> None:
    """Refuse a recipe that asks for another network than its base has; its activation and batch norms may differ."""
    assert stage.base is not None
    own, of_base = (_network(recipe) for recipe in (stage.recipe, stage.base.recipe))
    differing = [key for key in dict.fromkeys([*of_base, *own]) if own.get(key) != of_base.get(key)]
    if differing:
        key = differing[0]
        raise InputError(
            f"{stage.label} starts from the network of {stage.base.label} and asks for another: model.{key} is "
            f"{of_base.get(key)!r} there, {own.get(key)!r} here. Give both the same model, as under [settings] of the "
            "study."
        )


def _network(recipe: Recipe) -> dict[str, Any]:
    values = recipe.model.model_dump(exclude={"pretrained", "sha256", "options"})
    return values | {f"options.{k}": v for k, v in recipe.model.options.items() if k not in REPLACED}


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = {}
    merge(copy, json.loads(json.dumps(values)))
    return copy
