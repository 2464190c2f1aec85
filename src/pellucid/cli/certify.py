"""`pellucid certify`: how large a perturbation a network under noise withstands, from below and from above."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pellucid.cli.options import (
    AllowTrainingImages,
    Cache,
    DataName,
    DataOption,
    Device,
    Limit,
    Model,
    Out,
    Root,
    Seed,
    Split,
    open_splits,
    pick_device,
    show,
    tell_seen,
    wrote,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.certified_summary import Bracket

FILE, CURVE = "certify.json", "curve.png"


def certify(
    model: Model,
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    sigma: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Standard deviation of the noise, on pixels in [0, 1]; what the network was trained with, if known.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Noisy copies of an image that a certificate rests on.")] = 1000,
    selection_samples: Annotated[int, typer.Option(help="Noisy copies that choose the answer.")] = 100,
    alpha: Annotated[float, typer.Option(help="Probability that a certificate is wrong.")] = 0.001,
    attack_samples: Annotated[int, typer.Option(help="Noisy copies that the attack follows.")] = 16,
    attack: Annotated[bool, typer.Option(help="Also attack the smoothed classifier.")] = True,
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
) -> None:
    """Certified robustness by randomised smoothing, and the same smoothed classifier attacked.

    Writes certify.json, certify.csv (one row per image) and curve.png. Run the same command again to go on after an
    interruption.

    Example: `pellucid certify runs/first --data phantom --sigma 0.25 --limit 50 --out runs/first/certify`
    """
    from pellucid.data.class_match import match_classes
    from pellucid.data.dataset import get_split
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.robustness.certified import Smoothing
    from pellucid.evaluation.robustness.certified_rows import ROWS, measure_certified
    from pellucid.evaluation.robustness.certified_summary import bracket_of, certified_summary
    from pellucid.evaluation.robustness.robustness_target import check_something_to_measure, robustness_target_of
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.models import load_model
    from pellucid.models.weights import read_model_card, weights_file
    from pellucid.utils.download import digest_of
    from pellucid.utils.progress import progress_context
    from pellucid.utils.resources import write_json

    card = read_model_card(model)
    smoothing = Smoothing(
        _noise(card, model) if sigma is None else sigma,
        selection_samples,
        samples,
        alpha,
        attack_samples if attack else None,
        seed,
    )
    classifier = load_model(model, pick_device(device))
    whole = get_split(open_splits(data, root, data_option), split)
    whole, notes = match_classes(whole, classifier.classes, classifier.task)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    robustness_target = robustness_target_of("attack", whole, card)
    dataset = whole.limit(limit, seed=seed)
    check_something_to_measure([robustness_target], dataset)
    check = ImageCheck(model, refuse=not allow_training_images)
    images = check.pixels(dataset, classifier.input_spec, cache)
    tell_seen(check.found())
    with progress_context("certify", len(dataset)):
        rows = measure_certified(
            classifier,
            images,
            dataset,
            robustness_target,
            smoothing,
            out,
            weights_sha256=digest_of(weights_file(model)),
        )
    bracket = bracket_of(rows, dataset, robustness_target)
    about = {"format": 1, "model": str(model), "data": whole.card.name, "split": split, "limit": limit}
    found = {
        **about,
        "fingerprint": dataset.fingerprint,
        "training_images": check.found().to_json(),
        **certified_summary(rows, bracket, dataset, smoothing, Bootstrap(dataset.patients, seed=seed)),
    }
    write_json(out / FILE, found)
    _draw(bracket, dataset, out / CURVE)
    _tell(found, f"{len(dataset)} images of {data}/{split}, noise {smoothing.sigma:g}")
    for name in (FILE, ROWS, CURVE):
        wrote(out / name)


def _noise(card: Mapping[str, Any], model: Path) -> float:
    """The noise that the network was trained with."""
    from pellucid.types import InputError

    noise = card.get("noise")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or noise == 0:
        raise InputError(
            f"the model.toml of {model} names no noise that the network was trained with: give --sigma, the standard "
            "deviation of the noise on pixels in [0, 1], as --sigma 0.25."
        )
    return float(noise)


def _draw(bracket: Bracket, dataset: Dataset, path: Path) -> None:
    from pellucid.evaluation.robustness.certified_summary import curves_of
    from pellucid.report.charts.curves import AraCurve, write_curves

    robustness_target = bracket.certified.robustness_target
    names = {"certified": "certified: at least", "attack": "attacked: at most"}
    curves = curves_of(bracket, dataset)
    write_curves(
        [
            AraCurve(
                names[name], "attack", c.radius, c.accuracy, robustness_target.naive, measure=robustness_target.measure
            )
            for name, c in curves.items()
        ],
        path,
    )


def _tell(found: Mapping[str, Any], title: str) -> None:
    certified, attack = found["certified"], found["attack"]
    rows = [
        ["accuracy under noise", _share(found["accuracy"]["value"]), _interval(found["accuracy"], _share)],
        ["abstentions", _share(found["abstentions"]["value"]), _interval(found["abstentions"], _share)],
        ["ARA, certified: at least", _number(certified["ara"]), _interval(certified, _number)],
    ]
    if attack is not None:
        rows.append(["ARA, attacked: at most", _number(attack["ara"]), _interval(attack, _number)])
    show(title, ["smoothed classifier", "value", "95 % interval"], rows)
    what = "images" if found["task"] == "multiclass" else "labels of images"
    none, confidence = found["abstained"]["certificate"], f"{100 * found['confidence']:g} %"
    told = [f"n = {found['n']} {what}, {found['samples']} samples, confidence {confidence}", f"{none} not certified"]
    typer.echo("; ".join([*told, *([f"{attack['found']} attacks confirmed"] if attack is not None else [])]))
    reasons = [end["reason"] for end in (certified, attack) if end is not None]
    for message in dict.fromkeys([*reasons, found["alarm"]["message"]]):
        if message:
            typer.echo(f"warning: {message}", err=True)


def _interval(found: Mapping[str, Any], shown: Callable[[float | None], str]) -> str:
    low, high = found["interval"] if "interval" in found else (found["low"], found["high"])
    return f"[{shown(low)}, {shown(high)}]" if _known(low) else "none"


def _share(value: float | None) -> str:
    return f"{100 * value:.1f} %" if value is not None and _known(value) else "unknown"


def _number(value: float | None) -> str:
    if value is None or not _known(value):
        return "unknown"
    return "unbounded" if math.isinf(value) else f"{value:.4f}"


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
