"""`pellucid explain`: why a network answers as it does, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.evaluate import choices
from pellucid.cli.options import Device, Limit, Model, Out, Seed, pick_device, wrote

if TYPE_CHECKING:
    from collections.abc import Sequence


def explain(
    model: Model,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)],
    out: Out,
    method: Annotated[
        str, typer.Option(help="Separated by commas: cam, grad-cam, saliency.")
    ] = "cam,grad-cam,saliency",
    classes: Annotated[
        str, typer.Option(help="Separated by commas: names, or all, or top3 for the three most probable.")
    ] = "top3",
    limit: Limit = None,
    device: Device = "auto",
    seed: Seed = 0,  # noqa: ARG001 (these methods leave nothing to chance; the option is the same for every verb)
) -> None:
    """Explain images: for each a panel of classes × methods (PNG), the maps as numbers (npz), and explain.json.

    Example: `pellucid explain runs/first image.png --method cam,saliency --classes Mass,Nodule --out explained`
    """
    import numpy as np
    import torch

    from pellucid.data.decode import fit, read_image
    from pellucid.explain import EXPLAINERS
    from pellucid.explain import explain as explain_batch
    from pellucid.models import load_model
    from pellucid.models.inference import as_pixels, probabilities
    from pellucid.progress import progress_bar
    from pellucid.report.sheet import explanation_sheet
    from pellucid.resources import whole_file, write_json

    methods = choices(method, EXPLAINERS, "method")
    place = pick_device(device)
    network = load_model(model, place)
    shape = network.input_spec
    files = image_files(images)[:limit]
    _check_classes(classes, network.classes)
    pictures = [fit(read_image(f), shape.size, shape.channels) for f in files]  # before any work: each must be readable
    names = _distinct(files)
    found = []
    with progress_bar("explain", len(files)) as advance:
        for file, name, picture in zip(files, names, pictures, strict=True):
            batch = as_pixels(picture[None], torch.device(place))
            with torch.no_grad():
                chances = probabilities(network(batch).cpu().numpy(), network.task)[0]
            chosen = _classes(classes, network.classes, chances)
            maps: dict[tuple[str, str], np.ndarray] = {}
            for way in methods:
                every = explain_batch(
                    way, network, batch.expand(len(chosen), -1, -1, -1), torch.tensor(chosen, device=place)
                )
                maps |= {(network.classes[c], way): every.maps[i].cpu().numpy() for i, c in enumerate(chosen)}
            panel, numbers = out / f"{name}.png", out / f"{name}.npz"
            shown = {network.classes[c]: float(chances[c]) for c in chosen}
            explanation_sheet(picture, maps, shown, title=file.name, path=panel)
            with whole_file(numbers) as temporary, temporary.open("wb") as stream:
                arrays: dict[str, Any] = {f"{c}|{m}": v for (c, m), v in maps.items()}
                np.savez_compressed(stream, **arrays)
            found.append(
                {
                    "image": str(file),
                    "probabilities": {c: float(p) for c, p in zip(network.classes, chances, strict=True)},
                    "explained": list(shown),
                    "panel": panel.name,
                    "maps": numbers.name,
                }
            )
            advance(1)
    write_json(out / "explain.json", {"model": str(model), "methods": methods, "size": shape.size, "images": found})
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


def _check_classes(text: str, known: Sequence[str]) -> None:
    if text != "all" and not (text.startswith("top") and text[3:].isdigit() and int(text[3:]) > 0):
        choices(text, known, "class")


def _classes(text: str, known: Sequence[str], chances: Sequence[float]) -> list[int]:
    if text == "all":
        return list(range(len(known)))
    if text.startswith("top") and text[3:].isdigit():
        ranked = sorted(range(len(known)), key=lambda i: -chances[i])
        return ranked[: int(text[3:])]
    return [list(known).index(name) for name in choices(text, known, "class")]


def _distinct(files: Sequence[Path]) -> list[str]:
    """A name an output: the file's own, with a number where several files share it."""
    seen: dict[str, int] = {}
    names = []
    for file in files:
        count = seen[file.stem] = seen.get(file.stem, 0) + 1
        names.append(file.stem if count == 1 else f"{file.stem}-{count}")
    return names
