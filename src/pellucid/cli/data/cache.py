"""`pellucid data cache`: decode a dataset once, into files that are mapped, or into shards for object storage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show, wrote
from pellucid.cli.session import key_values
from pellucid.utils.words import number_of


def cache(
    name: options.Dataset,
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
        int | None, typer.Option(help="1 for grey, 3 for colour; the dataset's own by default.")
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
    from pellucid.data.cache.dataset import cache_dataset

    cached = cache_dataset(
        name,
        root,
        out,
        preprocess=preprocess,
        size=size,
        channels=channels,
        parts=split or (),
        shard_size=shard_size,
        verify=verify,
        workers=workers,
        seed=seed,
        options=key_values(data_option),
    )
    rows = [
        [m.split, f"{m.images:,}", f"{m.images * m.image_bytes / 1e6:,.1f} MB", str(len(m.files)), path.name]
        for path, m in cached.manifests.items()
    ]
    checked = "; every byte is what was written" if verify else ""
    shape = f"{cached.spec.size_text} pixels ({cached.spec.geometry}), {number_of(cached.spec.channels, 'channel(s)')}"
    show(f"{name}: {shape}{checked}", ["part", "images", "size", "files", "manifest"], rows)
    wrote(cached.path)
