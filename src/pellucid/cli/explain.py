"""`pellucid explain`: why a network answers as it does, image by image."""

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
    choices,
    pick_device,
    wrote,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from pellucid.cli.explaining.adversarial import AdversarialOutput
    from pellucid.cli.explaining.class_choice import ClassChoice
    from pellucid.cli.explaining.maps import HeatMapOutput
    from pellucid.cli.input_images import InputImage
    from pellucid.models.classifier import ConvolutionalClassifier

    Maps = dict[tuple[str, str], npt.NDArray[np.floating]]


def explain(
    model: Model,
    out: Out,
    images: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Image files, or folders of them; or name a dataset with --data.", show_default=False),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="Separated by commas: {methods}."),
    ] = "cam,grad-cam,saliency",
    classes: Annotated[
        str,
        typer.Option(
            help="Separated by commas: names; all; top3 for the three most probable; predicted; second for the most "
            "confident other class; true, for images of a dataset."
        ),
    ] = "top3",
    rho: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Adversarial: size of the change, root mean square per pixel in [0, 1]; 0.1, or 0.075 with heat maps.",
            show_default=False,
        ),
    ] = None,
    direction: Annotated[str, typer.Option(help="Adversarial: raise or lower the class's confidence.")] = "raise",
    optimiser: Annotated[str, typer.Option(help="Adversarial: tight, or woods2019 as the paper has it.")] = "tight",
    slider: Annotated[
        int, typer.Option(min=0, help="Adversarial: put so many images on a page with a slider over rho.")
    ] = 1,
    layer: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="{layer}: at this layer's output instead of the last map's.", show_default=False),
    ] = None,
    segments: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=2, help="{segments}: about so many superpixels.", show_default=False),
    ] = None,
    samples: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="{samples}: random variants of an image.", show_default=False),
    ] = None,
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Explain images of this dataset, whose labels are known.", show_default=False),
    ] = None,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    identifier: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--id", help="This image of the dataset; may be repeated.", show_default=False),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            help="dicom: also write each heat map, its regions and boxes and a picture as DICOM objects of the study "
            "that a DICOM file is of, as in `explain runs/first chest.dcm --format dicom --out explained`.",
        ),
    ] = "png",
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Explain images: for each a panel of classes × methods (PNG), maps and moved images as numbers, explain.json.

    Beside heat maps the method adversarial has two columns of the panel as well. It changes the image until the
    network is sure of a class, draws that beside the image with the difference, and writes slider.html, where the size
    of the change can be moved. boxes.csv has a row for each box around a hot region of a heat map that is coarse enough
    to have regions, in pixels of the file and in millimetres where that says how large a pixel is.

    Example: `pellucid explain runs/first image.png --method cam,saliency --classes Mass,Nodule --out explained`
    """
    from pellucid.cli.explaining.adversarial import AdversarialOutput
    from pellucid.cli.explaining.class_choice import parse_classes
    from pellucid.cli.explaining.dicom import dicom_output, found_boxes
    from pellucid.cli.explaining.maps import MIXED_RHO, HeatMapOutput
    from pellucid.cli.input_images import check_given, find_subjects
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.explainers import EXPLAINERS
    from pellucid.explainers.adversarial import RHO, check_settings
    from pellucid.models import load_model
    from pellucid.utils.csv_table import write_csv
    from pellucid.utils.progress import advance, progress_context
    from pellucid.utils.resources import write_json

    methods = list(dict.fromkeys(choices(method, EXPLAINERS, "method")))
    heat = [m for m in methods if m != "adversarial"]
    size = rho if rho is not None else MIXED_RHO if heat else RHO
    check_settings(size, direction, optimiser)
    check_given(images, data, root, identifier)
    network = load_model(model, pick_device(device))
    check = ImageCheck(model, refuse=False)
    choice = parse_classes(classes, network.classes, network.task, truth=data is not None)
    subjects = find_subjects(check, network, images, data, root, data_option, split, identifier, limit, seed)
    chances = _chances_of(subjects, choice, network)
    dicom = dicom_output(output, subjects, heat, model, out)
    options = {"layer": layer, "segments": segments, "samples": samples, "seed": seed}
    mapping = HeatMapOutput(network, heat, options, size, out)
    moving = AdversarialOutput(network, size, direction, optimiser, slider, out) if "adversarial" in methods else None
    found, boxes = [], []
    with progress_context("explain", len(subjects) + (moving.steps(len(subjects)) if moving else 0)):
        for subject, known in zip(subjects, chances, strict=True):
            row, maps, arrays = _explained(subject, known, choice, mapping, moving)
            boxes += found_boxes(subject, maps)
            if dicom:
                row["dicom"] = dicom.write(subject, maps)
            row["maps"] = _keep(arrays, out / f"{subject.name}.npz")
            found.append(row)
            advance(1)
    about: dict[str, Any] = {"model": str(model), "methods": methods, "size": network.input_spec.height}
    about["training_images"] = check.found().to_json()
    if heat:
        about["options"] = mapping.about()
        write_csv(out / "boxes.csv", boxes)
    if moving:
        about["adversarial"] = moving.about()
        moving.finish()
    write_json(out / "explain.json", about | {"images": found})
    wrote(out / "explain.json")
    typer.echo(f"wrote {len(found)} panels and maps to {out}")


def _chances_of(
    subjects: Sequence[InputImage], choice: ClassChoice, network: ConvolutionalClassifier
) -> list[list[float]]:
    """The probability of every class on every image, once it is sure that there is something to explain on each."""
    from pellucid.types import InputError

    for subject in subjects:
        if not choice.of([0.0] * len(choice.classes), subject.truth):
            raise InputError(f"{subject.source} shows none of the classes: name others beside true, as true,second.")
    return [_chances(network, subject) for subject in subjects]


def _explained(
    subject: InputImage,
    chances: Sequence[float],
    choice: ClassChoice,
    mapping: HeatMapOutput,
    moving: AdversarialOutput | None,
) -> tuple[dict[str, Any], Maps, dict[str, Any]]:
    """Explain an image and draw its panels; what explain.json says of it, its heat maps, and all by `class|method`."""
    network = mapping.network
    chosen = choice.of(chances, subject.truth)
    row: dict[str, Any] = {
        "image": subject.source,
        "probabilities": dict(zip(network.classes, chances, strict=True)),
        "explained": [network.classes[c] for c in chosen],
    }
    if subject.truth is not None:
        row["true"] = [network.classes[c] for c in subject.truth]
    maps, cost = mapping.explain(subject, chosen)
    moved: dict[str, Any] = {}
    if moving:
        row["adversarial"], moved = moving.add(subject, chosen, choice.roles(chances, subject.truth))
    if maps:
        shown = {network.classes[c]: chances[c] for c in chosen}
        row["panel"], row["cost"] = mapping.draw(subject, maps, shown, row.get("adversarial", {}), moved), cost
    return row, maps, {f"{c}|{m}": v for (c, m), v in maps.items()} | moved


def _chances(network: ConvolutionalClassifier, subject: InputImage) -> list[float]:
    """The probability of every class.

    Raises:
        InputError: a network that gives no answer.
    """
    from pellucid.models.inference import check_answers, predict, probabilities

    logits = predict(network, subject.picture[None])
    check_answers(logits, "there is nothing to explain", [subject.source])
    chances: list[float] = probabilities(logits, network.task)[0].tolist()
    return chances


def _keep(arrays: dict[str, Any], path: Path) -> str:
    import numpy as np

    from pellucid.utils.resources import whole_file

    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path.name
