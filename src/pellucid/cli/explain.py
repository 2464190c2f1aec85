"""`pellucid explain`: why a network answers as it does, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pellucid.cli.evaluate import choices
from pellucid.cli.options import DataOption, Device, Limit, Model, Out, Root, Seed, Split, pick_device, wrote

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from pellucid.cli.subjects import Subject
    from pellucid.models.classifier import ConvolutionalClassifier


def explain(
    model: Model,
    out: Out,
    images: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Image files, or folders of them; or name a dataset with --data.", show_default=False),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Separated by commas: cam, grad-cam, saliency, adversarial.")
    ] = "cam,grad-cam,saliency",
    classes: Annotated[
        str,
        typer.Option(
            help="Separated by commas: names; all; top3 for the three most probable; predicted; second for the most "
            "confident other class; true, for images of a dataset."
        ),
    ] = "top3",
    rho: Annotated[
        float, typer.Option(help="Adversarial: size of the change, root mean square a pixel in [0, 1].")
    ] = 0.1,
    direction: Annotated[str, typer.Option(help="Adversarial: raise or lower the class's confidence.")] = "raise",
    optimiser: Annotated[str, typer.Option(help="Adversarial: tight, or woods2019 as the paper has it.")] = "tight",
    slider: Annotated[
        int, typer.Option(min=0, help="Adversarial: put so many images on a page with a slider over rho.")
    ] = 1,
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
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Explain images: for each a panel of classes × methods (PNG), maps and moved images as numbers, explain.json.

    The method adversarial changes the image until the network is sure of a class, draws that beside the image with
    the difference, and writes slider.html, where the size of the change can be moved.

    Example: `pellucid explain runs/first image.png --method cam,saliency --classes Mass,Nodule --out explained`
    """
    from pellucid.cli.class_choice import parse_classes
    from pellucid.cli.explain_adversarial import AdversarialOutput
    from pellucid.cli.subjects import from_dataset, from_files
    from pellucid.explain import EXPLAINERS
    from pellucid.explain.adversarial import check_settings
    from pellucid.models import load_model
    from pellucid.progress import progress_bar
    from pellucid.resources import write_json
    from pellucid.types import InputError

    methods = list(dict.fromkeys(choices(method, EXPLAINERS, "method")))
    check_settings(rho, direction, optimiser)
    if bool(images) == (data is not None):
        raise InputError("name images to explain, or a dataset with --data: one of the two.")
    if identifier and data is None:
        raise InputError("--id names images of a dataset; say which with --data.")
    network = load_model(model, pick_device(device))
    choice = parse_classes(classes, network.classes, network.task, truth=data is not None)
    if data is None:
        subjects = from_files(image_files(images or [])[:limit], network)
    else:
        subjects = from_dataset(network, data, root, data_option, split, identifier, limit, seed)
    for subject in subjects:
        if not choice.of([0.0] * len(network.classes), subject.truth):
            raise InputError(f"{subject.source} shows none of the classes: name others beside true, as true,second.")
    heat = [m for m in methods if m != "adversarial"]
    moving = AdversarialOutput(network, rho, direction, optimiser, slider, out) if "adversarial" in methods else None
    found = []
    with progress_bar("explain", len(subjects) + (moving.steps(len(subjects)) if moving else 0)) as advance:
        for subject in subjects:
            chances = _chances(network, subject.picture)
            chosen = choice.of(chances.tolist(), subject.truth)
            row: dict[str, Any] = {
                "image": subject.source,
                "probabilities": {c: float(p) for c, p in zip(network.classes, chances, strict=True)},
                "explained": [network.classes[c] for c in chosen],
            }
            if subject.truth is not None:
                row["true"] = [network.classes[c] for c in subject.truth]
            arrays = _heat_maps(network, heat, subject, chosen, chances, out) if heat else {}
            if moving:
                row["adversarial"], moved = moving.add(
                    subject, chosen, choice.roles(chances.tolist(), subject.truth), advance
                )
                arrays |= moved
            if heat:
                row["panel"] = f"{subject.name}.png"
            row["maps"] = _keep(arrays, out / f"{subject.name}.npz")
            found.append(row)
            advance(1)
    about = {"model": str(model), "methods": methods, "size": network.input_spec.size}
    if moving:
        about["adversarial"] = moving.about()
        moving.finish()
    write_json(out / "explain.json", about | {"images": found})
    wrote(out / "explain.json")
    typer.echo(f"wrote {len(found)} panels and maps to {out}")


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files that are named, and those in the folders that are named.

    Raises:
        InputError: for a path that is not there, or a folder without images.
    """
    from pellucid.data.opening import IMAGE_SUFFIXES
    from pellucid.types import InputError

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise InputError(f"{path} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"no such image or folder: {path}.")
    return files


def _chances(network: ConvolutionalClassifier, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The probability of every class."""
    from pellucid.models.inference import predict, probabilities

    chances: npt.NDArray[np.float64] = probabilities(predict(network, picture[None]), network.task)[0]
    return chances


def _heat_maps(
    network: ConvolutionalClassifier,
    methods: Sequence[str],
    subject: Subject,
    chosen: Sequence[int],
    chances: npt.NDArray[np.float64],
    out: Path,
) -> dict[str, Any]:
    """Draw the sheet of heat maps, and give them by `class|method`."""
    import torch

    from pellucid.explain import explain as explain_batch
    from pellucid.models.inference import as_pixels
    from pellucid.report.sheet import explanation_sheet
    from pellucid.types import device_of

    place = device_of(network)
    batch = as_pixels(subject.picture[None], place).expand(len(chosen), -1, -1, -1)
    maps: dict[tuple[str, str], npt.NDArray[np.floating]] = {}
    for way in methods:
        every = explain_batch(way, network, batch, torch.tensor(chosen, device=place))
        maps |= {(network.classes[c], way): every.maps[i].cpu().numpy() for i, c in enumerate(chosen)}
    shown = {network.classes[c]: float(chances[c]) for c in chosen}
    explanation_sheet(subject.picture, maps, shown, title=subject.title, path=out / f"{subject.name}.png")
    return {f"{c}|{m}": v for (c, m), v in maps.items()}


def _keep(arrays: dict[str, Any], path: Path) -> str:
    import numpy as np

    from pellucid.resources import whole_file

    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path.name
