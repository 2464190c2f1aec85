"""Recipes: everything that determines how a network is trained, as a validated TOML file."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from pellucid.attacks.magnitude import Magnitude
from pellucid.data.augment import AugmentOptions
from pellucid.resources import bundled, find_toml
from pellucid.settings import Section, merge, parse_override, validate
from pellucid.training.losses import LossName
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class ModelSettings(Section):
    """Which network is trained, on images of which size."""

    name: str = Field("small", description="a name of `pellucid models list`")
    size: int = Field(128, ge=16, le=4096, description="height and width of the images, in pixels")
    channels: Literal[1, 3] = Field(1, description="1 for gray, 3 for colour")
    pretrained: bool | str = Field(False, description="true for the bundled weights, or a file or URL")
    sha256: str | None = Field(None, description="checksum of the pretrained weights")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the network, as output_stride")


class AttackSettings(Section):
    """How the adversarial images of the objective are made."""

    method: Literal["fgsm", "pgd"] = "fgsm"
    size: Magnitude = Magnitude(linf=0.005)
    steps: int = Field(1, ge=1)
    step_size: float | None = Field(
        None, gt=0, description="in the norm of `size`; FGSM: 1.25 size, PGD: 2.5 size / steps"
    )
    random_start: bool = True

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if self.method == "fgsm" and self.steps != 1:
            raise ValueError(f"fgsm takes one step; found steps = {self.steps}. Use method = 'pgd' for more")
        return self


class ObjectiveSettings(Section):
    """``mix · loss(x) + (1 − mix) · loss(x + δ)``; mix 1 is plain training, mix 0 is min–max training."""

    loss: LossName = "auto"
    mix: float = Field(1.0, ge=0, le=1)
    attack: AttackSettings = AttackSettings()


class OptimizerSettings(Section):
    """The optimiser and its constants."""

    name: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the parameters' gradient")


class ScheduleSettings(Section):
    """How the learning rate changes over the run."""

    name: Literal["cosine", "step", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the run in which the rate rises linearly")
    milestones: tuple[float, ...] = Field((), description="of `step`: shares of the run, in (0, 1)")
    gamma: float = Field(0.1, gt=0, le=1, description="of `step`: factor at each milestone")


class TrainingSettings(Section):
    """How long, in which batches, with which precision."""

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1, description="over all processes together")
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    select: str = Field("auroc", description="the validation metric that chooses the checkpoint")
    checkpoint_seconds: float = Field(45.0, ge=0, description="at most so much work is lost by a kill")


class Recipe(Section):
    """Everything that determines how a network is trained, besides data and seed."""

    name: str
    title: str
    citation: str = ""
    notes: str = ""
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    augment: AugmentOptions = AugmentOptions()
    training: TrainingSettings = TrainingSettings()

    @property
    def robust(self) -> bool:
        """Whether adversarial images take part in training."""
        return self.objective.mix < 1


def recipe_names() -> list[str]:
    """The recipes that the package carries."""
    return list(bundled("recipes"))


def load_recipe(name: str, overrides: Iterable[str] = (), settings: dict[str, Any] | None = None) -> Recipe:
    """Read a bundled recipe or a TOML file, then apply `settings` (nested) and `overrides` (``key.key=value``).

    A recipe may start from another with ``base = "NAME"``, a bundled one or a file beside it.

    Raises:
        InputError: for an unknown recipe, key or value; misspelt keys come with the nearest right one.

    Example:
        >>> load_recipe("standard", ["training.epochs=3"]).training.epochs
        3
    """
    path = find_toml(name, "recipes")
    values = _read(path)
    for text in overrides:
        merge(values, parse_override(text))
    merge(values, settings or {})
    return validate(Recipe, values, str(path.name))


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values, laid over those of its base; `above` are the recipes that start from this one."""
    if path in above:
        raise InputError(f"{path} starts from itself: {' → '.join(p.name for p in (*above, path))}. Change its base.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    base = values.pop("base", None)
    if base is None:
        return values
    beside = path.parent / base
    start = _read(find_toml(str(beside) if beside.is_file() else base, "recipes"), (*above, path))
    merge(start, values)
    return start
