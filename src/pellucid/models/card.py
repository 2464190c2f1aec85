"""The card of a network, `model.toml`: which fields it has, and of which kind each is."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pellucid.models.layouts import Layout
from pellucid.models.outputs import OutputKind
from pellucid.types import Fit, Geometry, InputSpec, Interpolation
from pellucid.utils.settings import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1


def _probability(value: float) -> float:
    if not (math.isnan(value) or 0 <= value <= 1):
        raise ValueError("expected a probability from 0 to 1, or nan where there is none")
    return value


Probability = Annotated[float, AfterValidator(_probability)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """A table of the card: strict, so that a number stays a number and a text a text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ArchitectureFields(_Part):
    """What the network is built from."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class HeadFields(_Part):
    """The head that fine-tuning gave a network of others; see `sources.source.NewHead`."""

    layer: str
    outputs: int = Field(ge=1)


class SourceFields(_Part):
    """Whose network it is, and how it is built again; see `sources.source.Source`."""

    kind: str
    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    code_sha256: dict[str, str] = Field(default_factory=dict)
    weights: str = ""
    weights_sha256: str = ""
    head: HeadFields | None = None


class OutputFields(_Part):
    """What the network of others returns."""

    kind: OutputKind


class FeatureFields(_Part):
    """Where the last feature map of a network of others is; see `layouts.LastMap`."""

    layer: str
    layout: Layout
    extra_tokens: int = Field(default=0, ge=0)
    grid: list[int] = Field(default_factory=list)
    head: str | None = None
    rectified: bool = False


class GeometryFields(_Part):
    """How an image is brought to the network's height and width; see `types.Geometry`."""

    fit: Fit = Field(
        "stretch",
        description="`crop`: the shorter side to `resize`, then the centre; `cut`: the centre first; `pad`: all of it",
    )
    resize: int | None = Field(None, description="of `crop`, the shorter side before the centre is cut out; the crop's")
    interpolation: Interpolation = Field("bilinear", description="the filter of the resize")
    antialias: bool = Field(True, description="false for torch's resize without it, Pillow's otherwise")
    offset: Literal["round", "floor"] = Field("round", description="where a crop of an odd rest begins")
    fill: float = Field(0.0, description="of `pad`, the value beside the image, from 0 (black) to 1 (white)")

    @property
    def geometry(self) -> Geometry:
        """As an input has it."""
        return Geometry(**self.model_dump())

    @classmethod
    def of(cls, geometry: Geometry) -> Self:
        """The fields of a geometry."""
        return cls(**asdict(geometry))


class InputFields(_Part):
    """The images that the network takes, and how it normalises them.

    A card without `geometry` stretches images, and `size` alone stands for a height and a width that are equal: so were
    cards before they had more to say.
    """

    channels: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    geometry: GeometryFields | None = None
    mean: list[Finite]
    std: list[Annotated[Finite, Field(gt=0)]]

    @model_validator(mode="before")
    @classmethod
    def _square(cls, values: Any) -> Any:  # noqa: ANN401
        if isinstance(values, dict) and "size" in values and not {"height", "width"} & values.keys():
            rest = {key: value for key, value in values.items() if key != "size"}
            return {**rest, "height": values["size"], "width": values["size"]}
        return values

    @property
    def spec(self) -> InputSpec:
        """Channels, height, width and geometry."""
        geometry = Geometry() if self.geometry is None else self.geometry.geometry
        return InputSpec(self.channels, self.height, self.width, geometry)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.spec  # noqa: B018  # refuses what contradicts itself
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{name} needs one value per channel, {self.channels}; found {len(values)}")
        return self


class StagePart(_Part):
    """The images of one part of a dataset."""

    images: int = Field(ge=0)
    fingerprint: str


class TrainingStage(_Part):
    """The data of one training."""

    dataset: str
    options: dict[str, Any]
    pixels: dict[str, int | str]
    train: StagePart
    validation: StagePart


class RecordFields(_Part):
    """What the network was trained and selected on; see `training_record.TrainingRecord`."""

    images: str
    images_sha256: str
    trained_on: int = Field(ge=0)
    selected_on: int = Field(ge=0)
    unknown: list[str]
    stages: list[TrainingStage] = Field(min_length=1)


class ModelCard(BaseModel):
    """Every field of `model.toml` that Pellucid reads; more fields may stand beside them.

    Attributes:
        format: of the card itself.
        task: `multiclass` or `multilabel`.
        classes: the names, one per logit.
        architecture: of a network of Pellucid, its name in the registry, and its options.
        source: of a network of others, in place of `architecture`: where it comes from.
        outputs: of a network of others: logits or probabilities.
        features: of a network of others: the layer of its last feature map, where there is one.
        input: channels, height, width, geometry, mean and std.
        weights_sha256: of the weights file that the card was written for.
        thresholds: a class counts as predicted from this probability on; NaN where it has no threshold.
        label_frequencies: of each class among the training images; NaN where nothing is known.
        best_constant: the constant prediction that minimises the training loss.
        noise: standard deviation of the noise that it was trained with.
        seed: of the training.
        epoch: that was chosen, from 1.
        score: of `selected_by`.
        penalty_weight: of the gradient penalty at the end.
        loss: name of the training loss.
        data: name of the dataset.
        data_fingerprint: of the training images.
        selected_by: the validation metric that chose the epoch.
        imported: of a network that others published: where it comes from.
        training_record: which images it was trained and selected on.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    format: Literal[1]
    task: Literal["multiclass", "multilabel"]
    classes: list[str]
    input: InputFields
    architecture: ArchitectureFields | None = None
    source: SourceFields | None = None
    outputs: OutputFields | None = None
    features: FeatureFields | None = None
    weights_sha256: str | None = None
    thresholds: list[Probability] | None = None
    label_frequencies: list[Probability] | None = None
    best_constant: list[Probability] | None = None
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    seed: int | None = None
    epoch: int | None = None
    score: float | None = None
    penalty_weight: float | None = None
    loss: str | None = None
    data: str | None = None
    data_fingerprint: str | None = None
    selected_by: str | None = None
    imported: dict[str, Any] | None = None
    training_record: RecordFields | None = None

    @field_validator("classes")
    @classmethod
    def _names(cls, classes: list[str]) -> list[str]:
        if not classes or not all(name.strip() for name in classes):
            raise ValueError("expected at least one name, and none that is empty")
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise ValueError(f"class names must differ; more than once: {', '.join(twice[:5])}")
        return classes

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.architecture is None) == (self.source is None):
            raise ValueError("expected the table architecture or, for a network of others, the table source")
        return self

    @model_validator(mode="after")
    def _one_a_class(self) -> Self:
        for name in ("thresholds", "label_frequencies", "best_constant"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.classes):
                raise ValueError(
                    f"{name} needs one number for each of the {len(self.classes)} classes; found {len(values)}"
                )
        return self


def card_input(card: Mapping[str, Any]) -> InputSpec:
    """The images that the network of a card takes.

    Example:
        >>> card_input({"input": {"channels": 1, "size": 128, "mean": [0.5], "std": [0.25]}}).shape
        (1, 128, 128)
    """
    return InputFields.model_validate(card["input"]).spec


def thresholds_of(card: Mapping[str, Any], classes: int) -> list[float]:
    """The probability of each class from which on it counts as predicted: NaN where never, a half in a card without.

    Example:
        >>> thresholds_of({"thresholds": [0.2, 0.7]}, 2), thresholds_of({}, 2)
        ([0.2, 0.7], [0.5, 0.5])
    """
    return [float(threshold) for threshold in card.get("thresholds") or [0.5] * classes]


def input_table(spec: InputSpec) -> dict[str, Any]:
    """Channels, height, width and geometry, for a card's table `input`."""
    geometry = {key: value for key, value in asdict(spec.geometry).items() if value is not None}
    return {"channels": spec.channels, "height": spec.height, "width": spec.width, "geometry": geometry}


def check_card(values: Mapping[str, Any], source: str) -> None:
    """Refuse a card with a field that is missing or of the wrong kind.

    Args:
        values: what `model.toml` holds.
        source: for the message.

    Raises:
        InputError: naming each wrong field with the value found and what is expected.

    Example:
        >>> check_card({"format": 1, "task": "multilabel", "classes": [0, 1]}, "model.toml")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: model.toml: classes.0: Input should be a valid string; found 0; classes.1: Input \
should be a valid string; found 1; the key 'input' is missing.
    """
    validate(ModelCard, values, source)
