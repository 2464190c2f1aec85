"""`pellucid annotate export`: annotations to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.output import wrote


def export(
    store: Annotated[str, typer.Argument(help="The annotation database.")],
    kind: Annotated[str, typer.Option("--format", help="coco (JSON) or csv.")] = "coco",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; the database's name beside it by default.")
    ] = None,
) -> None:
    """Write all annotations to one file, which other tools, and `pellucid annotate import`, can read.

    COCO: boxes and polygons in pixels, brush strokes as run lengths. Either format, imported again, gives the same
    database.

    Example: `pellucid annotate export annotations.db --format coco --out annotations.json`
    """
    from pellucid.annotations.files import FORMATS, export_annotations
    from pellucid.types import InputError
    from pellucid.utils.resources import check_known, optional

    optional("sqlalchemy", "annotate", "an annotation database")
    check_known([kind], FORMATS, "format")
    if out is None:
        if "://" in store:
            raise InputError("name the file to write with --out.")
        out = Path(store).with_suffix(FORMATS[kind])
    counts = export_annotations(store, out, kind)
    typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    wrote(out)
