"""`pellucid evaluate` and `pellucid localize`: how well a network classifies, and where its explanations fall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pellucid.cli.options import (
    AllowTrainingImages,
    BatchSize,
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
    choices,
    open_splits,
    pick_device,
    show,
    tell_seen,
    wrote,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.evaluation.metrics.comparison import Row


def evaluate(
    model: Model,
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    attack: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NORM=SIZE",
            help="Also under PGD of this size, as linf=0.005; may be repeated.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of PGD.")] = 20,
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
) -> None:
    """AUROC and average precision a class, and accuracy under attack, with intervals over patients.

    Writes classification.json and classification.csv.

    Example: `pellucid evaluate runs/first --data phantom --attack linf=0.005 --out runs/first/evaluation`
    """
    from pellucid.attacks import Epsilon
    from pellucid.attacks.under_attack import logits_under_attack
    from pellucid.data.class_match import match_classes
    from pellucid.data.dataset import get_split
    from pellucid.evaluation.metrics.comparison import classification_rows, robustness_rows
    from pellucid.evaluation.metrics.statistics import Bootstrap
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.models import load_model
    from pellucid.models.inference import check_answers, predict
    from pellucid.models.weights import read_model_card
    from pellucid.utils.progress import progress_context
    from pellucid.utils.settings import parse_override, validate

    sizes = [validate(Epsilon, parse_override(text), f"--attack {text}") for text in attack or ()]
    classifier = load_model(model, pick_device(device))
    thresholds = _thresholds(read_model_card(model))
    dataset, notes = match_classes(
        get_split(open_splits(data, root, data_option), split), classifier.classes, classifier.task
    )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    dataset = dataset.limit(limit, seed=seed)
    check = ImageCheck(model, refuse=not allow_training_images)
    images = check.pixels(dataset, classifier.input_spec, cache)
    tell_seen(check.found())
    with progress_context("evaluate", len(images) * (1 + len(sizes))):
        logits = {"0": predict(classifier, images, batch_size=batch_size)}
        for size in sizes:
            logits[str(size)] = logits_under_attack(
                classifier,
                images,
                dataset.targets,
                size=size,
                steps=steps,
                seed=seed,
                batch_size=batch_size,
            )
    draws = Bootstrap(dataset.patients, seed=seed)
    rows = classification_rows({"": [logits["0"]]}, dataset, draws)
    if sizes:
        rows += robustness_rows({"": [logits]}, {"": [thresholds]}, dataset, draws)
    about = {
        "model": str(model),
        "data": data,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "n": len(dataset),
        "training_images": check.found().to_json(),
        "seed": seed,
    }
    _write(out, "classification", about, rows)
    classes = list(dict.fromkeys(r.class_name for r in rows if r.section == "classification"))
    cells = {(r.class_name, r.metric): _shown(r) for r in rows if r.section == "classification"}
    metrics = ["auroc", "average_precision"]
    show(
        f"{len(dataset)} images of {data}/{split}",
        ["class", *metrics],
        [[c, *(cells[c, m] for m in metrics)] for c in classes],
    )
    if sizes:
        under = [r for r in rows if r.section == "robustness"]
        at = {(r.at, r.metric): _shown(r) for r in under}
        names = list(dict.fromkeys(r.at for r in under))
        show(
            f"under PGD, {steps} steps",
            ["size", "accuracy", "auroc"],
            [[n, at[n, "accuracy"], at[n, "auroc"]] for n in names],
        )
    for name, answers in logits.items():  # after writing, so that what is undefined stands there with its reason
        attacked = "" if name == "0" else f" under attack ({name})"
        check_answers(answers, f"what is measured of it{attacked} is undefined", dataset.ids)


def localize(
    model: Model,
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    method: Annotated[str, typer.Option(help="Methods of explanation, separated by commas: {heatmaps}.")] = "cam",
    region: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="CLASS=LABEL",
            help="The marked label that a class should fall on, as PNEUMONIA=Lesions.",
            show_default=False,
        ),
    ] = None,
    split: Split = "test",
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
) -> None:
    """Score where explanations fall against boxes or masks: Wang et al.'s accuracy and false positives, and more.

    Writes localization.json and localization.csv. Scores of maps that know nothing of the image stand beside.

    Example: `pellucid localize runs/first --data phantom --method cam,saliency --out runs/first/localization`
    """
    import numpy as np

    from pellucid.data.dataset import get_split
    from pellucid.evaluation.metrics.comparison import localization_rows, trivial_rows, wang_rows
    from pellucid.evaluation.metrics.explanations import localization_task, score_explanations
    from pellucid.evaluation.metrics.statistics import Bootstrap
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.explainers import HEATMAPS
    from pellucid.models import load_model
    from pellucid.models.inference import check_answers, predict, probabilities
    from pellucid.models.weights import read_model_card
    from pellucid.utils.progress import progress_bar

    methods = choices(method, HEATMAPS, "heat map")
    classifier = load_model(model, pick_device(device))
    thresholds = np.asarray(_thresholds(read_model_card(model)))
    dataset = get_split(open_splits(data, root, data_option), split).limit(limit, seed=seed)
    wanted: dict[str, list[str]] = {}
    for text in region or ():
        class_name, _, label = text.partition("=")
        wanted.setdefault(class_name, []).append(label)
    check = ImageCheck(model, refuse=not allow_training_images)
    check.check_decoding(dataset)
    shape = classifier.input_spec
    task = localization_task(
        data,
        dataset,
        classifier.classes,
        size=shape.size,
        channels=shape.channels,
        regions=wanted or None,
        cache=cache,
    )
    check.look(task.dataset, task.images)
    tell_seen(check.found())
    draws = Bootstrap(task.dataset.patients, seed=seed)
    logits = predict(classifier, task.images)
    check_answers(logits, "its explanations explain nothing", task.dataset.ids)
    chances = probabilities(logits, classifier.task)[:, task.outputs]
    predicted = np.asarray(chances >= thresholds[task.outputs])
    rows: list[Row] = []
    with progress_bar("explain and score", len(methods), unit="method") as advance:
        for name in methods:
            found = score_explanations(classifier, task, name, boxes=True, predicted=predicted, batch_size=batch_size)
            rows += localization_rows({"": [found]}, task, name, draws)
            rows += wang_rows({"": [found]}, task, name, draws)
            advance(1)
    rows += trivial_rows(task, draws)
    about = {
        "model": str(model),
        "data": data,
        "split": split,
        "fingerprint": task.dataset.fingerprint,
        "images": len(task.images),
        "pairs": len(task.pair_image),
        "training_images": check.found().to_json(),
        "thresholds": {c: thresholds[o] for c, o in zip(task.classes, task.outputs, strict=True)},
        "seed": seed,
    }
    _write(out, "localization", about, rows)
    metrics = ["pointing", "energy_ratio", "auprc"]
    means = [r for r in rows if r.section == "localization" and r.class_name == "mean"]
    cells = {(r.method, r.metric): _shown(r) for r in means}
    found_methods = list(dict.fromkeys(r.method for r in means))
    title = f"{len(task.pair_image)} findings on {len(task.images)} images of {data}/{split}, mean over classes"
    show(title, ["map", *metrics], [[m, *(cells[m, x] for x in metrics)] for m in found_methods])
    for name in methods:
        boxes = {
            (r.gate, r.at, r.metric): _shown(r)
            for r in rows
            if r.section == "wang" and r.method == name and r.class_name == "mean"
        }
        gates = list(dict.fromkeys(g for g, _, _ in boxes))
        table = [
            [at, g, boxes[g, at, "accuracy"], boxes[g, at, "afp"], boxes[g, "", "mean_box_area"]]
            for g in gates
            for at in ("IoBB > 0.1", "IoBB > 0.25", "IoBB > 0.5", "IoU > 0.1", "IoU > 0.3", "IoU > 0.5")
        ]
        show(
            f"boxes from {name}, after Wang et al. 2017",
            ["hit", "pairs", "accuracy", "false positives", "box area"],
            table,
        )


def _thresholds(card: dict[str, Any]) -> list[float]:
    """The classes' thresholds as probabilities; a half where the card, of a foreign network, has none."""
    return [float(t) for t in card.get("thresholds", [0.5] * len(card["classes"]))]


def _shown(row: Row) -> str:
    if row.value != row.value:
        return f"undefined: {row.reason}"
    interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else ""
    return f"{row.value:.3f}{interval}"


def _write(out: Path, name: str, about: dict[str, Any], rows: Sequence[Row]) -> None:
    from pellucid.utils.csv_table import write_csv
    from pellucid.utils.resources import write_json

    plain = [r.to_json() for r in rows]
    flat = [
        {
            k: (v if v is not None else "")
            for k, v in row.items()
            if k not in ("seeds", "seed_spread", "difference", "variant")
        }
        for row in plain
    ]
    write_json(out / f"{name}.json", about | {"rows": plain})
    write_csv(out / f"{name}.csv", flat)
    wrote(out / f"{name}.json")
    wrote(out / f"{name}.csv")
