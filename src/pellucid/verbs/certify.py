"""`pl.certify` and `pellucid certify`: how large a perturbation a model withstands, from both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.robustness.bounds import Bounds
from pellucid.evaluation.robustness.certified import Smoothing
from pellucid.evaluation.robustness.certified_rows import ROWS, measure_certified
from pellucid.evaluation.robustness.certified_summary import bracket_of, certified_summary, curves_of
from pellucid.evaluation.robustness.robustness_target import check_something_to_measure, robustness_target_of
from pellucid.models.memory_order import channels_last
from pellucid.report.charts.curves import AraCurve, write_curves
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import finite, nearest, write_json
from pellucid.utils.result import Footnotes, Result, Table
from pellucid.utils.words import interval_text, known_text
from pellucid.verbs.figures import radius_text
from pellucid.verbs.folders import work_folder, write_bytes
from pellucid.verbs.session import check_arguments, name_of, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.verbs.session import Model

FILE, CURVE = "certify.json", "curve.png"


@dataclass(frozen=True, eq=False, repr=False)
class Certification(Result):
    """What is certified of a model, itself or under noise, and what an attack on the same reaches.

    Attributes:
        found: all figures, as `certify.json` has them.
        curves: accuracy against radius, certified and attacked.
        decisions: `certify.csv`, with one row per decision.
        notes: what a reader must know of the classes and images.
    """

    name: ClassVar[str] = "certify"
    found: dict[str, Any]
    curves: Sequence[AraCurve]
    decisions: bytes
    notes: Sequence[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Accuracy and abstentions under noise, the certified area, and the attacked one if there is one."""
        summary = self.found
        shares = [{"figure": name, **summary[name]} for name in ("accuracy", "abstentions")]
        areas = [
            {"figure": f"ara_{end}", "value": summary[end]["ara"], "low": summary[end]["interval"][0],
             "high": summary[end]["interval"][1], "n": summary["n"], "reason": summary[end]["reason"]}
            for end in ("certified", "attack") if summary[end] is not None
        ]  # fmt: skip
        plain: list[dict[str, Any]] = finite([*shares, *areas])
        return plain

    def to_json(self) -> dict[str, Any]:
        """What `certify.json` holds."""
        return self.found

    def tables(self) -> list[Table]:
        """The main figures, and under them what they rest on and why some are unknown."""
        summary, certified, attack = self.found, self.found["certified"], self.found["attack"]
        is_smoothed = summary["method"] == "smoothing"
        shares = (
            {"accuracy": "accuracy under noise", "abstentions": "abstentions"}
            if is_smoothed
            else {"accuracy": "accuracy"}
        )
        rows = [
            [text, _share(summary[name]["value"]), _interval(summary[name], _share)] for name, text in shares.items()
        ]
        marks = Footnotes()
        for text, end in (("ARA, certified: at least", certified), ("ARA, attacked: at most", attack)):
            if end is not None:
                mark = marks.mark(end["reason"]) if end["reason"] else ""
                rows.append([text, f"{radius_text(end['ara'])}{mark}", _interval(end, radius_text)])
        what = "images" if summary["task"] == "multiclass" else "labels of images"
        none, confidence = summary["abstained"]["certificate"], f"{100 * summary['confidence']:g} %"
        notes = [f"n = {summary['n']} {what}"]
        if is_smoothed:
            notes = [f"{notes[0]}, {summary['samples']} samples, confidence {confidence}", f"{none} not certified"]
        notes += [*([f"{attack['found']} attacks confirmed"] if attack is not None else [])]
        means = f"noise {summary['sigma']:g}" if is_smoothed else "by bounds"
        title = f"{summary['images']} images of {summary['data']}/{summary['split']}, {means}"
        head = "smoothed classifier" if is_smoothed else "network"
        lines = [f"{'; '.join(notes)}.", *marks.lines]
        return [Table(title, [head, "value", "95 % interval"], rows, lines)]

    @property
    def warnings(self) -> list[str]:
        """What was said of classes and images, and whether certificates and attacks contradict each other."""
        alarm = self.found["alarm"]["message"]
        return [*self.notes, alarm] if alarm else list(self.notes)

    def draw(self, folder: Path) -> dict[Path, str]:
        """The curves."""
        write_curves(self.curves, folder / CURVE)
        return {folder / CURVE: "Accuracy against the size of a perturbation, certified and attacked"}

    def save(self, folder: str | Path) -> list[Path]:
        """Write certify.json, certify.csv and curve.png."""
        folder = Path(folder)
        write_json(folder / FILE, self.found)
        write_bytes(folder / ROWS, self.decisions)
        write_curves(self.curves, folder / CURVE)
        return [folder / FILE, folder / ROWS, folder / CURVE]


def certify(
    model: Model,
    data: Dataset,
    sigma: float | None = None,
    *,
    method: Literal["smoothing", "bounds"] = "smoothing",
    samples: int = 1000,
    selection_samples: int = 100,
    alpha: float = 0.001,
    attack_samples: int | None = 16,
    out: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
) -> Certification:
    """Certified robustness by randomised smoothing, or of a small network by bounds, and the same classifier attacked.

    Args:
        model: what is certified.
        data: one part of a dataset; its classes are matched with the model's by name.
        sigma: standard deviation of the noise, on pixels in [0, 1]; what the model was trained with by default.
            Of smoothing only, like the numbers of samples and `alpha`.
        method: `smoothing` certifies the model under noise, with a probability of error; `bounds` the model itself,
            without one, where it is small and affine between ReLUs or half-Huber ReLUs.
        samples: noisy copies of an image that a certificate rests on.
        selection_samples: noisy copies that choose the answer.
        alpha: probability that a certificate is wrong.
        attack_samples: noisy copies that the attack follows; None for no attack, with bounds too.
        out: the folder where results are kept as they come, so that the same call goes on after an interruption.
        limit: at most so many images, chosen with `seed`.
        seed: of that choice, of the noise and of the bootstrap.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.

    Raises:
        InputError: another `method`, or `sigma` with bounds; a network that bounds do not cover; no `sigma`, neither
            given nor in the model's card; data that does not fit; certificates of something else in `out`.

    Source:
        J. Cohen, E. Rosenfeld, Z. Kolter: Certified adversarial robustness via randomized smoothing. ICML 2019, arXiv
        1902.02918, algorithm CERTIFY: the radius σ Φ⁻¹(p) of theorem 1 with 1 − p in the place of p_B. The attack
        follows Salman et al. 2019, arXiv 1906.04584. Bounds: E. Wong, Z. Kolter 2018, arXiv 1711.00851.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = certify(model, data, 0.25, samples=40, selection_samples=10, alpha=0.05, attack_samples=None)
        >>> [row["figure"] for row in result.rows]
        ['accuracy', 'abstentions', 'ara_certified']
    """
    check_arguments(model, data)
    smoothing: Smoothing | Bounds
    if method == "bounds":
        if sigma is not None:
            raise InputError(f"bounds need no noise; found sigma {sigma:g}. Leave it out, or take method smoothing.")
        smoothing = Bounds(attack_samples is not None, seed)
    elif method == "smoothing":
        noise = trained_noise(model) if sigma is None else sigma
        smoothing = Smoothing(noise, selection_samples, samples, alpha, attack_samples, seed)
    else:
        raise InputError(f"unknown method {method!r}. {nearest(method, ['smoothing', 'bounds'])}")
    session = open_session(
        model,
        data,
        limit=limit,
        seed=seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    dataset, target = session.dataset, robustness_target_of("attack", session.whole, model.card)
    check_something_to_measure([target], dataset, "a certified area")
    images, digest = session.pixels(), session.results_key
    with channels_last(model), work_folder(out) as folder:
        with progress_context("certify", len(dataset)):
            rows = measure_certified(model, images, dataset, target, smoothing, folder, weights_sha256=digest)
        decisions = (folder / ROWS).read_bytes()
    bracket = bracket_of(rows, dataset, target)
    about = session.about()
    fingerprint = about.pop("fingerprint")
    summary = {
        "format": 1,
        **about,
        "limit": limit,
        "fingerprint": fingerprint,
        "training_images": session.seen(),
        **certified_summary(rows, bracket, dataset, smoothing, Bootstrap(dataset.patients, seed=seed)),
    }
    names = {"certified": "certified: at least", "attack": "attacked: at most"}
    curves = [
        AraCurve(names[name], "attack", c.radius, c.accuracy, target.naive, measure=target.measure)
        for name, c in curves_of(bracket, dataset).items()
    ]
    return Certification(summary, curves, decisions, session.warnings)


def trained_noise(model: Model) -> float:
    """The noise that a model was trained with, from its card.

    Raises:
        InputError: it names none.
    """
    noise = model.card.get("noise")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or noise == 0:
        raise InputError(
            f"the model.toml of {name_of(model)} names no noise that the network was trained with: give --sigma, the "
            "standard deviation of the noise on pixels in [0, 1], as --sigma 0.25 (in Python: sigma=0.25)."
        )
    return float(noise)


def _interval(share: Mapping[str, Any], text_of: Callable[[float | None], str]) -> str:
    low, high = share["interval"] if "interval" in share else (share["low"], share["high"])
    return interval_text(low, high, text_of) or "none"


def _share(value: float | None) -> str:
    return known_text(value, lambda share: f"{100 * share:.1f} %")
