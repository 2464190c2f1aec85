"""Recipes: everything that determines how a network is trained, as a validated TOML file."""

from __future__ import annotations

import math
import tomllib
import warnings
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from pellucid.data.augment import BY_DATA, AugmentOptions
from pellucid.models.card import GeometryFields
from pellucid.training.objectives.losses import losses_for, resolve_loss
from pellucid.training.objectives.objective import ObjectiveSettings
from pellucid.training.robust_check import RobustCheckSettings
from pellucid.types import InputError, InputSpec
from pellucid.utils.resources import bundled, find_toml, nearest
from pellucid.utils.settings import Section, merge, parse_override, validate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pellucid.data.dataset import DatasetCard
    from pellucid.types import Task


class ModelSettings(Section):
    """Which network is trained, on images of which size."""

    name: str = Field("small", description="a name of `pellucid models list`")
    size: int = Field(128, ge=16, le=4096, description="height and width of the images, in pixels")
    width: int | None = Field(None, ge=16, le=4096, description="where it is not the height, which `size` is then")
    geometry: GeometryFields = Field(GeometryFields(), description="how an image is brought to that size")
    channels: Literal[1, 3] = Field(1, description="1 for grey, 3 for colour")
    pretrained: bool | str = Field(False, description="true for the bundled weights, or a file or URL")
    sha256: str | None = Field(None, description="checksum of the pretrained weights")
    mean: tuple[float, ...] | None = Field(None, description="normalisation, one value per channel; the network's own")
    std: tuple[float, ...] | None = Field(None, description="the same")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the network, as output_stride")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.input_spec  # noqa: B018  # refuses a crop of more than there is
        return self

    @property
    def input_spec(self) -> InputSpec:
        """The images that the network takes."""
        return InputSpec(self.channels, self.size, self.width or self.size, self.geometry.geometry)


class OptimizerSettings(Section):
    """The optimiser and its constants."""

    name: Literal["sgd", "adamw"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0)
    decay: Literal["weights", "all"] = Field(
        "weights", description="what decays: weights of convolutions and linear layers, or biases and norms as well"
    )
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
    select: str = Field("auroc", description="the validation metric that chooses the checkpoint, or `last`")
    freeze_batch_norm: bool = Field(False, description="keep batch norm's running statistics and normalise by them")
    channels_last: bool = Field(
        False, description="memory order of the images and weights; on a CPU not for layers of fewer than 8 channels"
    )
    checkpoint_seconds: float = Field(45.0, ge=0, description="at most so much work is lost by a kill")


class FineTuningSettings(Section):
    """What changes where training starts from a trained network."""

    epochs: float = Field(0.1, gt=0, description="factor of the recipe's epochs, rounded up")
    lr: float = Field(1.0, gt=0, description="factor of the recipe's learning rate")


class Recipe(Section):
    """Everything that determines how a network is trained, besides data and seed.

    Example:
        >>> recipe = load_recipe("khakzar2019-robust")
        >>> recipe.robust, recipe.model.name, recipe.citation[:32]
        (True, 'densenet121', 'Khakzar, Albarqouni & Navab 2019')
    """

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
    robust_check: RobustCheckSettings | None = Field(
        None, description="a short attack on validation images after every epoch"
    )
    init: str = Field(
        "", description="the recipe of the network that training starts from; none where it starts afresh"
    )
    fine_tuning: FineTuningSettings = FineTuningSettings()

    @property
    def robust(self) -> bool:
        """Whether adversarial images take part in training."""
        return self.objective.attacks


def recipe_names() -> list[str]:
    """The recipes that the package carries.

    Example:
        >>> "standard" in recipe_names()
        True
    """
    return list(bundled("recipes"))


def load_recipe(
    name: str,
    overrides: Iterable[str] = (),
    settings: dict[str, Any] | None = None,
    *,
    common: dict[str, Any] | None = None,
    fine_tuning: bool = False,
) -> Recipe:
    """Read a bundled recipe or a TOML file, then apply `settings` (nested) and `overrides` (``key.key=value``).

    A recipe may start from another with ``base = "NAME"``, a bundled one or a file beside it.

    Args:
        name: of a bundled recipe, or a TOML file.
        overrides: ``key.key=value``, as on the command line.
        settings: the same, nested.
        common: nested values that several recipes share, laid over this one before anything else.
        fine_tuning: shorten it as its `fine_tuning` says: to a tenth of its epochs by default. What `overrides` and
            `settings` say of epochs and rate holds as it is.

    Raises:
        InputError: for an unknown recipe, key or value; misspelt keys come with the nearest right one.

    Example:
        >>> load_recipe("standard", ["training.epochs=3"]).training.epochs
        3
    """
    path = find_toml(name, "recipes")
    values = _read(path)
    layers = [*(parse_override(text) for text in overrides), settings or {}]
    merge(values, common or {})
    if fine_tuning:
        for layer in layers:
            merge(values, {key: layer[key] for key in ("fine_tuning",) if key in layer})
        whole = validate(Recipe, values, path.name)
        epochs = math.ceil(round(whole.training.epochs * whole.fine_tuning.epochs, 6))
        rate = float(f"{whole.optimizer.lr * whole.fine_tuning.lr:.9g}")  # 0.1 · 0.1 as people write it
        merge(values, {"training": {"epochs": epochs}, "optimizer": {"lr": rate}})
    for layer in layers:
        merge(values, layer)
    return validate(Recipe, values, path.name)


def resolve(recipe: Recipe, card: DatasetCard) -> Recipe:
    """The recipe with a number where it leaves a value to the dataset; a warning says where no image is mirrored then.

    Example:
        >>> from pellucid.data.readers.cifar10.reader import CARD
        >>> resolve(load_recipe("woods2019-standard"), CARD).augment.flip
        0.5
    """
    if recipe.augment.flip != BY_DATA:
        return recipe
    if not card.mirrorable:
        warnings.warn(
            f"{recipe.name} mirrors images where left and right may be exchanged, which nobody says of {card.name}: "
            "augment.flip is 0. If they may be, --set augment.flip=0.5.",
            stacklevel=3,
        )
    flip = 0.5 if card.mirrorable else 0.0
    return recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"flip": flip})})


def with_fitting_loss(recipe: Recipe, task: Task, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe with the plain loss where its own is not for the task; a warning says so.

    Args:
        recipe: as `load_recipe` gives it.
        task: of the data.
        overrides: what a user has set of it: a loss among them is left as it is.

    Example:
        >>> with_fitting_loss(load_recipe("standard"), "multiclass").objective.loss
        'auto'
    """
    name = recipe.objective.loss
    layers = [parse_override(text) for text in overrides]
    if any("loss" in layer.get("objective", {}) for layer in layers) or name in {"auto", *losses_for(task)}:
        return recipe
    hint = " To detect one class instead, name it: --data-option positive=NAME (in Python: an option of pl.dataset)."
    hint = hint if task == "multiclass" else ""
    warnings.warn(
        f"the loss of {recipe.name}, {name}, is not for a {task} task: {resolve_loss('auto', task)} takes its place "
        f"(objective.loss=auto).{hint}",
        stacklevel=3,
    )
    return recipe.model_copy(update={"objective": recipe.objective.model_copy(update={"loss": "auto"})})


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
    if not isinstance(base, str) or not base.strip():
        raise InputError(
            f"{path}: base names the recipe to start from, a bundled one or a file beside it; found {base!r}. "
            f"{nearest('', recipe_names())}"
        )
    beside = path.parent / base
    try:
        of_base = find_toml(str(beside) if beside.is_file() else base, "recipes")
    except InputError as error:
        raise InputError(f"{path}: base: {error}") from error
    start = _read(of_base, (*above, path))
    merge(start, values)
    return start


def fitted_by(recipe: Recipe, preprocess: str) -> Recipe:
    """The recipe with another size and geometry of its images.

    Args:
        recipe: whose channels stay.
        preprocess: as `InputSpec.parse` reads it.

    Example:
        >>> model = fitted_by(load_recipe("standard"), "crop:256:224:bicubic").model
        >>> model.size, model.geometry.resize
        (224, 256)
    """
    spec = InputSpec.parse(preprocess, recipe.model.channels)
    width = None if spec.width == spec.height else spec.width
    changed = {"size": spec.height, "width": width, "geometry": GeometryFields.of(spec.geometry).model_dump()}
    model = validate(ModelSettings, recipe.model.model_dump() | changed, f"--preprocess {preprocess}")
    return recipe.model_copy(update={"model": model})
