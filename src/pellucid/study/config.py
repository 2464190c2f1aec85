"""A study as a TOML file: recipes × seeds on one dataset, and where their explanations are scored."""

from __future__ import annotations

import math
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from pellucid.attacks import METHODS, BoundedAttack
from pellucid.data.readers.phantom.options import visible_shortcut
from pellucid.evaluation.metrics.heatmap_scores import SCORES, YARDSTICKS
from pellucid.explainers import HEATMAPS
from pellucid.study.annotation_loop.config import LoopSettings
from pellucid.types import InputError
from pellucid.utils.resources import find_toml, nearest
from pellucid.utils.settings import Names, Section, merge, parse_override, validate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pydantic import ValidationInfo

AreaKind = Literal["attack", "btr"]
CLEAN = ("accuracy", "balanced_accuracy")  # of the images of the areas, unchanged
COMPARED: dict[str, tuple[str, ...]] = {
    "classification": ("auroc", "average_precision", "accuracy", "balanced_accuracy", "recall"),
    "robustness": ("auroc", "accuracy"),
    "ara": (*(f"ara_{kind}" for kind in get_args(AreaKind)), *CLEAN),
    "localization": tuple(name for name in SCORES if name not in YARDSTICKS),
}
BOXES = tuple(f"wang_{name}" for name in ("accuracy", "afp", "mean_box_area", "boxes_per_map"))
"""Wang et al.'s scores, as `conclusions.margin` calls them: their accuracy is none of answers."""
MARGINS = dict.fromkeys(("auroc", "average_precision", "accuracy", "balanced_accuracy", "recall"), 0.01)
"""Of shares and areas between 0 and 1 that answers are scored by; of all others none, unless the study states one."""


def _each_known(names: tuple[str, ...], choices: Collection[str]) -> tuple[str, ...]:
    for name in names:
        if name not in choices:
            raise ValueError(f"unknown name {name!r}. {nearest(name, choices)}")
    return names


class DataSettings(Section):
    """A dataset by name, its place under --root, and its own options."""

    name: str
    path: str = Field("", description="folder under --root; --root itself where empty")
    options: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(0, ge=0, description="of data that are drawn, and of splits that are")


class VariantSettings(Section):
    """One recipe of the comparison, with what the study changes in it."""

    recipe: str
    label: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._=-]*$", description="its name in tables and file names")
    settings: dict[str, Any] = Field(default_factory=dict, description="as in the recipe, laid over it")
    init: str | None = Field(
        None,
        min_length=1,
        description="the variant or recipe whose network it starts from, trained once for each seed; the recipe's own",
    )
    family: str | None = Field(
        None,
        min_length=1,
        description="variants of one family, named in order of strength, share a colour and are joined by a line; "
        "the report draws their explanations' scores against AUROC",
    )


class TargetSettings(Section):
    """Images with known regions on which the explanations are scored."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = ""
    data: DataSettings | None = Field(None, description="the study's own test part by default")
    regions: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="class → the region labels it should fall on; the class's own by default",
    )
    boxes: bool = Field(True, description="whether Wang et al.'s boxes are scored as well")
    limit: int | None = Field(None, ge=1)


class RobustnessSettings(Section):
    """The test accuracy under attacks of several sizes."""

    sizes: tuple[BoundedAttack, ...] = Field(
        (), description="as {linf = 0.01} or 'linf=8/255'; 'autoattack:linf=8/255', 'pgd:…' or 'fgsm:…' for others"
    )
    steps: int = Field(20, ge=1, description="of those that are PGD")
    limit: int | None = Field(None, ge=1, description="at most so many test images")


class AraSettings(Section):
    """The Accuracy-Robustness Area on test images; none without kinds."""

    kinds: tuple[AreaKind, ...] = ()
    protocol: str = Field("tight", description="the attack, as in `pellucid ara`")
    effort: Literal[1, 2, 4] = Field(1, description="of `tight`: so many times its budget, as in `pellucid ara`")
    limit: int | None = Field(None, ge=1, description="at most so many test images")
    matched: Names = Field(
        (), description="labels of variants of the same clean accuracy, whose curves get a figure of their own"
    )

    @field_validator("protocol")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(f"unknown protocol {name!r}. {nearest(name, METHODS)}")
        return name

    @field_validator("kinds", "matched")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @field_validator("matched")
    @classmethod
    def _several(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) == 1:
            raise ValueError(f"at least two variants can be matched; found only {labels[0]!r}")
        return labels


class AdversarialSettings(Section):
    """Sliders of adversarial explanations in the report; none without cases."""

    cases: int = Field(0, ge=0, description="test images with a slider, each the first of another class")
    classes: int = Field(4, ge=1, description="classes of each: those it shows, then the most confident others")
    rhos: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.01, 0.025, 0.05, 0.1), min_length=1, max_length=11, description="sizes, root mean square per pixel"
    )


class TrustTableSettings(Section):
    """The table of trust of each variant's first network; none without methods."""

    methods: Names = ()
    limit: int = Field(50, ge=1, description="at most so many test images, each explained some thirty times")
    samples: int = Field(8, ge=1, description="moved images per image, for the maximum sensitivity")
    attacked: int = Field(16, ge=0, description="images whose explanations are attacked")
    attack_steps: int = Field(12, ge=1, description="gradient steps of an attack, for each budget")

    @field_validator("methods")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _each_known(names, HEATMAPS)


class EvaluationSettings(Section):
    """How the trained networks are judged."""

    methods: Names = ("cam", "grad-cam", "saliency")
    box_methods: Names = Field(("cam",), description="methods whose maps are also turned into boxes")
    headline: Names = Field(("pointing", "energy_ratio", "auprc"), description="scores that the summary shows")
    resamples: int = Field(1000, ge=100)
    batch_size: int = Field(16, ge=1)
    panels: int = Field(2, ge=0, description="cases of each kind (best, middle, worst) per target")
    robustness: RobustnessSettings = RobustnessSettings()
    ara: AraSettings = AraSettings()
    adversarial: AdversarialSettings = AdversarialSettings()
    trust: TrustTableSettings = TrustTableSettings()
    targets: tuple[TargetSettings, ...] = Field(
        (TargetSettings(name="test"),), description="where explanations are scored; [] scores none"
    )

    @field_validator("methods", "headline")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return _each_known(names, HEATMAPS if info.field_name == "methods" else COMPARED["localization"])

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        unknown = set(self.box_methods) - set(self.methods)
        if unknown:
            raise ValueError(f"box_methods must be among methods; found also {', '.join(sorted(unknown))}")
        names = [t.name for t in self.targets]
        if len(set(names)) < len(names):
            raise ValueError(f"every target needs a name of its own; found {', '.join(names)}")
        return self


class ComparisonSettings(Section):
    """One comparison with the first variant that the study was made for, named before it runs."""

    section: Literal["classification", "robustness", "ara", "localization"] = Field(
        "classification", description="the table that it stands in"
    )
    metric: str = Field(description="as in that table")
    method: str = Field("", description="of explanation; for the section `localization`, and required there")
    target: str = Field("", description="a name of evaluation.targets; for `localization`, and required there")
    at: BoundedAttack | None = Field(None, description="size of the attack; for `robustness`, and required there")
    class_name: str = Field("mean", description="a class, or `mean` over classes")
    variants: Names = Field((), description="labels of the variants compared; all but the first by default")
    aim: Literal["differs", "no worse"] = Field(
        "differs", description="`no worse` asks whether it is worse by less than the metric's margin"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        fields = {"method": self.method, "target": self.target, "at": self.at}
        needed = {"localization": ("method", "target"), "robustness": ("at",)}.get(self.section, ())
        wrong = [name for name, value in fields.items() if bool(value) != (name in needed)]
        if wrong:
            wish = f"needs {' and '.join(needed)}" if needed else "has no method, target or at"
            raise ValueError(f"a comparison of the section {self.section!r} {wish}; look at {', '.join(wrong)}")
        metrics = COMPARED[self.section]
        if self.metric not in metrics:
            raise ValueError(
                f"unknown metric {self.metric!r} of the section {self.section!r}. {nearest(self.metric, metrics)}"
            )
        return self


class ConclusionSettings(Section):
    """What the study is to decide, named before it runs; all other comparisons are exploratory."""

    primary: tuple[ComparisonSettings, ...] = Field((), description="corrected together after Holm")
    margin: dict[str, float] = Field(
        default_factory=lambda: dict(MARGINS),
        description="metric → differences up to this are of no use, so neither better nor worse; 0 is none. Of Wang "
        "et al.'s scores wang_accuracy, wang_afp, wang_mean_box_area and wang_boxes_per_map",
    )

    @field_validator("margin")
    @classmethod
    def _usable(cls, margins: dict[str, float]) -> dict[str, float]:
        metrics = {name for names in COMPARED.values() for name in names} | {*BOXES}
        for name, margin in margins.items():
            if name not in metrics:
                raise ValueError(f"unknown metric {name!r}. {nearest(name, metrics)}")
            if not 0 <= margin < math.inf:
                raise ValueError(f"a margin is a number of at least 0; found {name} = {margin}")
        return {**MARGINS, **margins}

    def margin_of(self, section: str, metric: str) -> float:
        """Differences up to this are of no use; 0 where none is stated.

        Example:
            >>> stated = ConclusionSettings(margin={"auroc": 0.02, "wang_afp": 0.1})
            >>> [stated.margin_of(*place) for place in (("robustness", "auroc"), ("ara", "accuracy"), ("wang", "afp"))]
            [0.02, 0.01, 0.1]
            >>> stated.margin_of("wang", "accuracy"), stated.margin_of("localization", "pointing")
            (0.0, 0.0)
        """
        return self.margin.get(f"wang_{metric}" if section in {"wang", "sweep"} else metric, 0.0)

    @model_validator(mode="after")
    def _has_margins(self) -> Self:
        for one in self.primary:
            if one.aim == "no worse" and not self.margin.get(one.metric):
                raise ValueError(
                    f"no worse by how much? State the margin of {one.metric}, as in margin = {{ {one.metric} = 0.01 }}"
                )
        return self


class Comparator(Section):
    """Published figures shown beside the study's, never as its own."""

    section: Literal["classification", "wang", "ara"]
    metric: str
    at: str = ""
    name: str
    note: str = ""
    values: dict[str, float]
    accuracy: dict[str, float] = Field(
        default_factory=dict, description="network → its clean accuracy; for the section `ara`, and required there"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.section != "ara":
            if self.accuracy:
                raise ValueError(
                    f"accuracy belongs to comparators of the section 'ara'; this one's is {self.section!r}"
                )
            return self
        kinds = get_args(AreaKind)
        if self.metric not in kinds:
            raise ValueError(f"unknown metric {self.metric!r} of the section 'ara'. {nearest(self.metric, kinds)}")
        if self.values.keys() != self.accuracy.keys():
            raise ValueError(
                "values and accuracy must name the same networks; only one of them names "
                f"{', '.join(sorted(self.values.keys() ^ self.accuracy.keys()))}"
            )
        wrong = [f"{name} = {share:g}" for name, share in self.accuracy.items() if not 0 <= share <= 1]
        if wrong:
            raise ValueError(f"an accuracy is a share between 0 and 1; found {', '.join(wrong)}")
        return self


class StudyConfig(Section):
    """Everything that determines a study, besides where the data is."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    description: str = ""
    cost: str = Field("", description="what it takes, in words")
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    folds: int | None = Field(
        None, ge=2, description="train each variant so many times per seed, each time judged on other patients' images"
    )
    validation_fraction: float = Field(
        0.1, gt=0, le=0.5, description="with folds: share of the patients of a training that choose its checkpoint"
    )
    data: DataSettings
    settings: dict[str, Any] = Field(default_factory=dict, description="laid over every recipe")
    variants: tuple[VariantSettings, ...] = Field(min_length=1)
    evaluation: EvaluationSettings = EvaluationSettings()
    conclusions: ConclusionSettings = ConclusionSettings()
    comparators: tuple[Comparator, ...] = ()
    loop: LoopSettings | None = None
    limits: tuple[str, ...] = Field((), description="what the figures cannot show")

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        labels = [v.label for v in self.variants]
        if len({label.replace(" ", "-") for label in labels}) < len(labels):  # they name folders
            raise ValueError(f"every variant needs a label of its own; found {', '.join(labels)}")
        for label in self.evaluation.ara.matched:
            if label not in labels:
                raise ValueError(f"evaluation.ara.matched names no variant: {label!r}. {nearest(label, labels)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ; found {self.seeds}")
        return self

    @model_validator(mode="after")
    def _measures_what_it_decides(self) -> Self:
        judged, others = self.evaluation, [v.label for v in self.variants[1:]]
        for number, one in enumerate(self.conclusions.primary):
            where = f"conclusions.primary[{number}]"
            if not others:
                raise ValueError(f"{where}: a study of one variant compares nothing; add --set conclusions.primary=[]")
            sizes = [str(size) for size in judged.robustness.sizes]
            checks = [
                ("a method of evaluation", one.method, list(judged.methods)),
                ("a target of evaluation", one.target, [t.name for t in judged.targets]),
                ("a size of evaluation.robustness", "" if one.at is None else str(one.at), sizes),
                *(("a variant other than the first", label, others) for label in one.variants),
            ]
            if one.section == "ara":
                kinds = [f"ara_{kind}" for kind in judged.ara.kinds]
                checks.append(("measured (evaluation.ara.kinds)", one.metric, [*kinds, *CLEAN] if kinds else []))
            for kind, name, choices in checks:
                if name and name not in choices:
                    hint = nearest(name, choices) if choices else "The study has none."
                    raise ValueError(f"{where}: {name!r} is not {kind}. {hint}")
        return self

    @model_validator(mode="after")
    def _fits_folds(self) -> Self:
        if self.folds is None:
            return self
        if self.loop is not None:
            raise ValueError("a study with [loop] has the parts of its dataset; leave folds out")
        if self.evaluation.ara.kinds:
            raise ValueError("areas are not measured over folds; leave evaluation.ara.kinds empty, or folds out")
        for target in self.evaluation.targets:
            if target.data is not None:
                raise ValueError(
                    f"with folds each network explains the images of its own fold; the target {target.name!r} has "
                    "others. Leave its data out, or the folds"
                )
        return self

    @model_validator(mode="after")
    def _fits_loop(self) -> Self:
        if self.loop is None:
            return self
        judged = self.evaluation
        unused = {
            "robustness.sizes": judged.robustness.sizes,
            "adversarial.cases": judged.adversarial.cases,
            "trust.methods": judged.trust.methods,
            "targets": judged.targets,
        }
        if self.conclusions.primary:
            raise ValueError("a study with [loop] has aims of its own; leave conclusions.primary empty")
        if named := [name for name, value in unused.items() if value]:
            raise ValueError(
                f"a study with [loop] measures its own; leave evaluation.{' and evaluation.'.join(named)} empty"
            )
        if self.variants[0].init is not None:
            raise ValueError("a study with [loop] trains its network afresh; leave the variant's init out")
        if len(self.variants) != 1:
            raise ValueError(
                f"a study with [loop] has one variant, the network that cheats; found {len(self.variants)}"
            )
        if visible_shortcut(self.data.options) is None:
            raise ValueError(
                "a study with [loop] needs data with a planted shortcut that lies somewhere: "
                "data.options.shortcuts.letter.finding = FINDING"
            )
        return self


def load_study(name: str, overrides: Iterable[str] = ()) -> StudyConfig:
    """Read a bundled study or a TOML file, with ``key.key=value`` overrides.

    Raises:
        InputError: for an unknown study, key or value; misspelt keys come with the nearest right one.

    Example:
        >>> load_study("demo").data.name
        'phantom'
    """
    path = find_toml(name, "studies")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from error
    for text in overrides:
        merge(values, parse_override(text))
    return validate(StudyConfig, values, path.name)
