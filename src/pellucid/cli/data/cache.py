"""`pellucid data cache`: decode a dataset once, into files that are mapped, or into shards for object storage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show, wrote
from pellucid.cli.session import key_values


def cache(
    name: Annotated[str, typer.Argument(help="A dataset by name; `pellucid data list` shows them.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the cache.", file_okay=False)],
    root: options.Root = None,
    data_option: options.DataOption = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images, in pixels.")] = 256,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="FIT[:RESIZE]:SIZE[:INTERPOLATION]",
            help="In place of --size: how images are fitted, as crop:256:224:bicubic or pad:320x256.",
        ),
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="1 for gray, 3 for colour; the dataset's own by default.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this part; may be given again.")] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Write shards of at most so many images, with their labels, to train from over the network."
        ),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of it back and compare its hashes.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; two per processor by default.")] = None,
    seed: options.Seed = 0,
) -> None:
    """Decode every image once, at one size; `--cache DIR` of the other commands then reads it from there.

    A call after one that was killed goes on where that one stopped. Images that cannot be read are named, 20 at most,
    and so are those that changed since an earlier call. With --shard-size the images are written as shards, with
    shards.json: copy the folder to object storage or a web server, and train with
    `--data shards --data-option url=https://…`.

    Example: `pellucid data cache chestxray14 --root ~/ChestX-ray14 --size 256 --out cache`

    Example: `pellucid data cache chestxray14 --root ~/ChestX-ray14 --size 256 --out shards --shard-size 1024`
    """
    from pellucid.data.cache.manifest import open_manifest, verify_cache
    from pellucid.data.cache.pixels import cache_path, materialize
    from pellucid.data.cache.shards import part_manifests, write_shards
    from pellucid.data.dataset import get_split
    from pellucid.data.registry import open_dataset
    from pellucid.types import InputError, InputSpec

    splits = open_dataset(name, root, seed=seed, options=key_values(data_option))
    if split:
        splits = {part: get_split(splits, part) for part in split}
    splits = {part: dataset for part, dataset in splits.items() if len(dataset)}
    if not splits:
        raise InputError(f"{name}: there are no images in it.")
    colours = channels or next(iter(splits.values())).card.native_channels
    spec = InputSpec.square(colours, size) if preprocess is None else InputSpec.parse(preprocess, colours)
    manifests: list[Path] = []
    if shard_size is not None:
        index = write_shards(splits, out, spec, shard_size=shard_size, progress=True, workers=workers)
        manifests = part_manifests(index)
    else:
        for dataset in splits.values():
            materialize(dataset, spec, directory=out, progress=True, workers=workers)
            manifests.append(cache_path(dataset, spec, directory=out))
    rows = []
    for path in manifests:
        manifest = verify_cache(path, progress=True, workers=workers) if verify else open_manifest(path)
        assert manifest is not None
        size_text = f"{manifest.images * manifest.image_bytes / 1e6:,.1f} MB"
        rows.append([manifest.split, f"{manifest.images:,}", size_text, str(len(manifest.files)), path.name])
    checked = "; every byte is what was written" if verify else ""
    shape = f"{spec.size_text} pixels ({spec.geometry}), {colours} channel{'s' if colours > 1 else ''}"
    show(f"{name}: {shape}{checked}", ["part", "images", "size", "files", "manifest"], rows)
    wrote(index if shard_size is not None else out)
