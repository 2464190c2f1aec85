"""`pellucid data check`: whether a dataset on disk is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show, wrote
from pellucid.cli.session import key_values

_CLASSES = 30  # rows of them that a check prints


def check(
    name: options.Dataset,
    root: options.Root = None,
    data_option: options.DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Also write check.json to this folder.", file_okay=False)] = None,
    show_at_most: Annotated[int, typer.Option(min=1, help="Problems printed; check.json has them all.")] = 20,
    seed: options.Seed = 0,
) -> None:
    """Count images, labels, boxes and patients; open every image; name what is missing, broken or in two parts.

    A patient in two parts is found by name, a picture in two parts by its pixels, whatever its file. Ends with status 1
    where something is wrong. The content hash is that of all pixels: equal where two machines read the same.

    Example: `pellucid data check chestxray14 --root ~/ChestX-ray14 --out checked`

    Of one's own: `pellucid data check table --root labels.csv --data-option category=diagnosis`
    """
    from pellucid.data.checks.check import check_dataset
    from pellucid.utils.resources import write_text

    report = check_dataset(name, root, seed=seed, options=key_values(data_option), progress=True)
    if out is not None:
        write_text(out / "check.json", report.to_json() + "\n")
    if report.parts:
        show(f"{name}: {report.found} of {report.expected} images", ["", *report.parts], report.rows(_CLASSES))
    for title, issues in (("note", report.notes), ("problem", report.problems)):
        for issue in issues[:show_at_most]:
            typer.echo(f"{title}: {issue.file}: {issue.reason}" if issue.file else f"{title}: {issue.reason}")
        if len(issues) > show_at_most:
            typer.echo(f"… and {len(issues) - show_at_most} more {title}s")
    if report.content_hash:
        typer.echo(f"content hash: {report.content_hash}")
    if out is not None:
        wrote(out / "check.json")
    if not report.ok:
        raise typer.Exit(1)
    typer.echo("nothing is wrong" + " with what was read; notes say what was left out" * report.left_out)
