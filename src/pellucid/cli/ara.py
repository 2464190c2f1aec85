"""`pellucid ara`: how large a perturbation a network withstands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pellucid.cli.options import (
    AllowTrainingImages,
    Cache,
    DataName,
    DataOption,
    Device,
    Limit,
    Out,
    Root,
    Seed,
    Split,
    choices,
    open_splits,
    pick_device,
    show,
    tell_seen,
    wrote,
)
from pellucid.cli.output_names import output_folders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.radii import AttackConfig
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.report.charts.curves import AraCurve


def ara(
    model: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or weights files with their model.toml; one or several.", show_default=False),
    ],
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    protocol: Annotated[str, typer.Option(help="The attack: tight, woods2019 or another that is known.")] = "tight",
    kind: Annotated[
        str, typer.Option(help="What must hold: attack (the decision), btr (better than a constant guess).")
    ] = "attack,btr",
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
    batch_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Images at a time; as many as fit, at most 64 on a CPU.", show_default=False),
    ] = None,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
) -> None:
    """The Accuracy-Robustness Area: the smallest perturbation of each image that changes the answer.

    Writes ara.json, radii.csv (one row per image) and curve.png; with several networks a folder each and one curve.png.
    Run the same command again to go on after an interruption; run it several times at once to share the work.

    Example: `pellucid ara runs/first --data phantom --limit 50 --out runs/first/ara`
    """
    from pellucid.data.dataset import get_split
    from pellucid.evaluation.robustness.radii import AttackConfig
    from pellucid.evaluation.robustness.robustness_target import KINDS
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.report.charts.curves import write_curves

    kinds = list(dict.fromkeys(choices(kind, KINDS, "kind of area")))
    settings = AttackConfig(protocol, seed)
    folders = output_folders(model, out)
    whole = get_split(open_splits(data, root, data_option), split)
    place = pick_device(device)
    found: dict[str, dict[str, Any]] = {}
    curves: list[AraCurve] = []
    for path, (name, folder) in zip(model, folders.items(), strict=True):
        check = ImageCheck(path, refuse=not allow_training_images)
        found[name], own = _one(path, name, folder, whole, kinds, settings, limit, place, batch_size, cache, check)
        curves += own
    write_curves(curves, out / "curve.png")
    _tell(found, kinds, f"{next(iter(found.values()))['images']} images of {data}/{split}, {protocol}")
    for folder in folders.values():
        wrote(folder / "ara.json")
        wrote(folder / "radii.csv")
    wrote(out / "curve.png")


def _one(
    model: Path,
    name: str,
    folder: Path,
    whole: Dataset,
    kinds: Sequence[str],
    protocol: AttackConfig,
    limit: int | None,
    device: str,
    batch_size: int | None,
    cache: Path | None,
    check: ImageCheck,
) -> tuple[dict[str, Any], list[AraCurve]]:
    """Measure one network, or read what was measured."""
    from pellucid.data.class_match import match_classes
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.robustness.ara_summary import conclude, curve_of
    from pellucid.evaluation.robustness.radii import measure
    from pellucid.evaluation.robustness.robustness_target import check_something_to_measure, robustness_target_of
    from pellucid.models import load_model
    from pellucid.models.weights import read_model_card, weights_file
    from pellucid.report.charts.curves import AraCurve
    from pellucid.utils.download import digest_of
    from pellucid.utils.progress import progress_context

    classifier = load_model(model, device)
    card = read_model_card(model)
    whole, notes = match_classes(whole, classifier.classes, classifier.task)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    robustness_targets = [robustness_target_of(kind, whole, card) for kind in kinds]
    dataset = whole.limit(limit, seed=protocol.seed)
    check_something_to_measure(robustness_targets, dataset)
    images = check.pixels(dataset, classifier.input_spec, cache)
    seen = check.found()
    tell_seen(seen)
    draws = Bootstrap(dataset.patients, seed=protocol.seed)
    with progress_context(f"attack {name}", sum(len(q.decisions(dataset.targets)[0]) for q in robustness_targets)):
        measured = measure(
            classifier,
            images,
            dataset,
            robustness_targets,
            protocol,
            folder,
            weights_sha256=digest_of(weights_file(model)),
            batch_size=batch_size,
        )
    about: dict[str, Any] = {"model": str(model), "data": whole.card.name, "split": whole.split}
    about["fingerprint"] = dataset.fingerprint
    about |= {"limit": limit, "training_images": seen.to_json()}
    found = conclude(classifier, images, dataset, measured, protocol, draws, folder, about=about)
    curves = []
    for kind, radii in measured.items():
        curve = curve_of(radii, dataset)
        curves.append(
            AraCurve(
                name, kind, *curve[:2], radii.robustness_target.naive, curve.upper, radii.robustness_target.measure
            )
        )
    return found, curves


def _tell(found: Mapping[str, Mapping[str, Any]], kinds: Sequence[str], title: str) -> None:
    columns = ["network", "kind", "ARA", "95 % interval", "mean radius", "median", "found", "gradients"]
    rows = []
    for name, results in found.items():
        for kind in kinds:
            one = results["kinds"][kind]
            area = (
                _number(one["ara"]) if one["ara"] is not None else f"{_number(one['lower'])} to {_number(one['upper'])}"
            )
            low, high = one["interval"]
            interval = f"[{_number(low)}, {_number(high)}]" if low is not None else "none"
            radii = [_number(one["mean_radius"]), _number(one["median_radius"])]
            count = f"{one['found']} of {one['n']}"
            rows.append([name, kind, area, interval, *radii, count, f"{one['gradient_evaluations_per_image']:.1f}"])
    show(title, columns, rows)
    for name, results in found.items():
        for kind in kinds:
            one = results["kinds"][kind]
            for message in (one["reason"], one["alarm"]["message"]):
                if message:
                    typer.echo(f"warning: {name}, {kind}: {message}", err=True)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
