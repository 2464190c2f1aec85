"""`pellucid annotate import`: annotations from a file, or a dataset's own boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pellucid.cli import options
from pellucid.cli.output import wrote
from pellucid.cli.session import open_part

if TYPE_CHECKING:
    from pellucid.annotations.records import Kind


def import_file(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A COCO JSON file, or a CSV file of export; left out, the boxes or masks that --data has itself."
        ),
    ] = None,
    store: options.Store = "annotations.db",
    data: Annotated[
        str | None, typer.Option("--data", help="The dataset that is annotated; our own files say it.")
    ] = None,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: Annotated[str, typer.Option(help="Of --data: which part of it.")] = "train",
    annotator: Annotated[str, typer.Option(help="Of all but our own files: who drew it.")] = "import",
    mark_as: Annotated[str, typer.Option("--as", help="Of all but our own files: relevant or irrelevant.")] = (
        "relevant"
    ),
) -> None:
    """Read annotations from a file, or a dataset's own boxes, into a database, which is made where it is new.

    A file of `export` says itself which dataset it belongs to. Somebody else's COCO JSON, of boxes, polygons or
    masks, is matched with the images of --data by the whole of their path. Nothing is kept of a file with anything
    wrong in it. Without a file, the boxes that --data comes with become marks; of a mask, the box around it.

    Example: `pellucid annotate import boxes.json --data chestxray14 --root ~/ChestX-ray14 --store annotations.db`

    Radiologists' boxes to train with: `pellucid annotate import --data chestxray14 --root ~/ChestX-ray14 --data-option
    boxed_for_training=0.5 --annotator radiologists`
    """
    from pellucid.annotations.files import import_annotations
    from pellucid.annotations.records import KINDS
    from pellucid.utils.resources import check_known, optional

    optional("sqlalchemy", "annotate", "an annotation database")
    from pellucid.annotations.schema import store_name

    kind = cast("Kind", check_known([mark_as], KINDS, "mark")[0])
    dataset = None if data is None else open_part(data, root, data_option, split)
    counts = import_annotations(file, store, dataset, annotator=annotator, kind=kind)
    typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    wrote(store_name(store))
