"""`pellucid attack-explanation`: can the explanations of a network be invalidated within a budget?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pellucid.cli.options import (
    DataOption,
    Device,
    Limit,
    Model,
    Out,
    Root,
    Seed,
    Split,
    key_values,
    pick_device,
    show,
    wrote,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.cli.input_images import InputImage
    from pellucid.evaluation.manipulation.attack import Manipulation

FILE, ROWS, CURVE = "attack-explanation.json", "attack-explanation.csv", "curve.png"


def attack_explanation(
    model: Model,
    out: Out,
    images: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Image files, or folders of them; or name a dataset with --data.", show_default=False),
    ] = None,
    method: Annotated[str, typer.Option(help="The explanation to attack: {differentiable}.")] = "grad-cam",
    goal: Annotated[
        str,
        typer.Option(
            help="same-decision: change the map, keep decision and confidence. same-map: change the decision, keep the "
            "map."
        ),
    ] = "same-decision",
    budget: Annotated[
        Optional[list[float]],  # noqa: UP045
        typer.Option(
            help="Largest change, root mean square per pixel in [0, 1]; may be repeated. 0.002, 0.005, 0.01 and 0.02 "
            "by default.",
            show_default=False,
        ),
    ] = None,
    target_map: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="For same-decision, the map to show: centre, corner, other-image or an image file. Any other map than "
            "the original by default.",
            show_default=False,
        ),
    ] = None,
    class_name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--class", help="The class explained; each image's most probable one by default."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="For same-decision: how far the class's probability may move.")
    ] = 0.05,
    keep: Annotated[
        float, typer.Option(help="For same-map: the rank correlation from which on a map counts as the same.")
    ] = 0.9,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps per budget.")] = 40,
    option: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="KEY=VALUE", help="An option of the explanation, as steps=20.", show_default=False),
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Draw at most so many images with their maps.")] = 12,
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Attack explanations of images of this dataset.", show_default=False),
    ] = None,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Attack explanations: attack-explanation.json, a CSV row per image and budget, the curve, and the image pairs.

    An attack that does not meet its constraint is a failure, and is reported as one. Run the same command again to go
    on after an interruption.

    Example: `pellucid attack-explanation runs/first image.png --method grad-cam --goal same-decision --out attacked`
    """
    import hashlib
    from dataclasses import asdict

    from pellucid.cli.input_images import check_given, find_subjects
    from pellucid.data.decoding.file_pixels import stacked
    from pellucid.evaluation.manipulation.attack import manipulate
    from pellucid.evaluation.manipulation.gradient_maps import check_method
    from pellucid.evaluation.manipulation.settings import BUDGETS, Attack
    from pellucid.evaluation.manipulation.summary import manipulation_rows, manipulation_summary
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.models import load_model
    from pellucid.models.inference import as_pixels
    from pellucid.models.weights import read_model_card, weights_file
    from pellucid.report.pictures.manipulated import write_manipulation_curves
    from pellucid.types import device_of
    from pellucid.utils.csv_table import write_csv
    from pellucid.utils.download import digest_of
    from pellucid.utils.progress import progress_context
    from pellucid.utils.resources import write_json
    from pellucid.utils.results_store import ResultsStore

    wished: Any = goal
    attack = Attack(
        method, wished, tuple(budget or BUDGETS), target_map, steps, tolerance, keep, seed=seed,
        options=key_values(option),
    )  # fmt: skip
    check_given(images, data, root)
    network = load_model(model, pick_device(device))
    check = ImageCheck(model, refuse=False)
    check_method(method, network, attack.options)
    target = None if class_name is None else _number(class_name, network.classes)
    subjects = find_subjects(check, network, images, data, root, data_option, split, None, limit, seed)
    pictures_of = stacked([s.picture for s in subjects])
    thresholds = read_model_card(model).get("thresholds")
    record = {
        "weights": digest_of(weights_file(model)),
        "images": [s.source for s in subjects],
        "pixels": hashlib.sha256(pictures_of.tobytes()).hexdigest(),
        "class": class_name,
        "thresholds": thresholds,
        **asdict(attack),
    }
    kept = ResultsStore(out / "kept", record)
    with progress_context("attack explanations", len(subjects) * len(attack.budgets)):
        pixels = as_pixels(pictures_of, device_of(network))
        found = manipulate(network, pixels, attack, targets=target, thresholds=thresholds, kept=kept)
    rows = manipulation_rows(found, [s.source for s in subjects])
    summary = manipulation_summary(found, Bootstrap([s.source for s in subjects], seed=seed))
    about = {"format": 1, "model": str(model), "data": data, "split": split if data else None}
    write_json(out / FILE, about | {"training_images": check.found().to_json(), **summary})
    write_csv(out / ROWS, rows)
    write_manipulation_curves({method: summary}, out / CURVE)
    _keep(found, subjects, out)
    _draw(found, subjects[:pictures], out)
    _tell(summary, f"{method}, {goal}: {len(subjects)} images")
    for name in (FILE, ROWS, CURVE):
        wrote(out / name)


def _number(name: str, classes: Sequence[str]) -> int:
    from pellucid.types import InputError
    from pellucid.utils.resources import nearest

    if name not in classes:
        raise InputError(f"unknown class {name!r}. {nearest(name, classes)}")
    return list(classes).index(name)


def _keep(found: Manipulation, subjects: Sequence[InputImage], out: Path) -> None:
    """The perturbed images and all maps as numbers: 8-bit pictures would round the perturbation away."""
    import numpy as np

    from pellucid.utils.resources import whole_file

    arrays = {
        "images": found.images, "perturbed": found.perturbed, "before": found.before, "after": found.after,
        "targets": found.decision.targets,
    }  # fmt: skip
    plain: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    with whole_file(out / "images.npz") as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, names=np.array([s.source for s in subjects]), **plain)


def _draw(found: Manipulation, subjects: Sequence[InputImage], out: Path) -> None:
    from pellucid.report.pictures.manipulated import Pair, manipulation_pictures

    attack = found.attack
    for i, subject in enumerate(subjects):
        chance = float(found.decision.probability[i])
        original = Pair(
            0.0, found.images[i].cpu().numpy(), found.before[i].cpu().numpy(),
            found.classes[int(found.decision.decided[i])], chance, 1.0, "",
        )  # fmt: skip
        pairs = [
            Pair(
                budget,
                found.perturbed[b, i].cpu().numpy(),
                found.after[b, i].cpu().numpy(),
                found.classes[int(found.decided[b, i])],
                float(found.probability[b, i]),
                float(found.similarity["rank_correlation"][b, i]),
                "invalidated" if found.found[b, i] else "not invalidated" if found.met[b, i] else "no such image found",
            )
            for b, budget in enumerate(attack.budgets)
        ]
        explained = found.classes[int(found.decision.targets[i])]
        title = f"{subject.title}: {attack.method} of {explained}, {attack.goal}"
        manipulation_pictures(original, pairs, method=attack.method, title=title, path=out / f"{subject.name}.png")


def _tell(summary: Mapping[str, Any], title: str) -> None:
    from pellucid.evaluation.metrics.statistics import Estimate

    curves = summary["curves"]
    names = ["constraint_met", "invalidated", "rank_correlation", "ssim", "top_k_overlap"]
    rows = [
        [f"{budget:g}", *(_short(Estimate.from_json(curves[name][b])) for name in names)]
        for b, budget in enumerate(summary["budgets"])
    ]
    areas = summary["areas"]
    rows.append(["area", "", *(_short(Estimate.from_json(areas[n])) if n in areas else "" for n in names[1:])])
    show(title, ["budget (RMS)", "constraint met", "invalidated", "rank correlation", "SSIM", "top 10 %"], rows)
    for reason, count in summary["without_figures"].items():
        typer.echo(f"note: {count} of {summary['n']} images have no figures: {reason}", err=True)


def _short(estimate: Any) -> str:  # noqa: ANN401
    import math

    if math.isnan(estimate.value):
        return "none"
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{interval}"
