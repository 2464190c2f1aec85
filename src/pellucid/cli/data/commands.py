"""`pellucid data`: which datasets there are, downloading one, decoding it once, and whether one on disk is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.data.cache import cache
from pellucid.cli.output import show, wrote
from pellucid.cli.session import key_values

app = typer.Typer(
    no_args_is_help=True, help="Which datasets there are, downloading one, and whether one on disk is whole."
)
_CLASSES = 30  # rows of them that a check prints
app.command("cache")(cache)


@app.command("list")
def list_datasets() -> None:
    """The datasets, their task, source and licence, and what `pellucid data fetch` would download.

    Example: `pellucid data list`
    """
    from pellucid.data.registry import DATASETS

    for entry in DATASETS.values():
        card = entry.card
        typer.secho(entry.name, bold=True)
        typer.echo(f"  {card.title}. {card.notes}")
        if entry.needs_root:
            typer.echo(f"  on disk: {entry.layout}")
        if card.classes:
            typer.echo(f"  {card.task}: {', '.join(card.classes)}")
        for label, text in (("source", card.url), ("licence", card.licence), ("cite", card.citation)):
            if text:
                typer.echo(f"  {label}: {text}")
        if entry.release is not None:
            typer.echo(f"  fetch: {entry.release.summary()}")


@app.command("fetch")
def fetch(
    name: options.Dataset,
    root: Annotated[Path, typer.Option(help="The folder to put it in; later its --root.", file_okay=False)],
    file: Annotated[list[str] | None, typer.Option(help="Only this of its files; may be given again.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep archives once they are unpacked.")] = False,
) -> None:
    """Download a dataset, or say what to accept and where to find it.

    Goes on where it was stopped, checks the sums that the publisher states, unpacks, and does nothing where all is
    there. An archive that was fetched by other means is taken if it lies in the folder under its own name. Ends with
    status 1 where something must be fetched by hand.

    Example: `pellucid data fetch cifar10 --root ~/cifar10`

    Example: `pellucid data fetch medmnist --root ~/medmnist --file pneumoniamnist_64.npz`
    """
    from pellucid.data.download.fetch import RECORDS, fetch_dataset

    files = fetch_dataset(name, root, files=file or (), keep=keep)
    if not files:
        typer.echo(f"{name} is in {root} already, fetched in another way; --file NAME fetches a file all the same")
    for one in files:
        count = len(one.contents)
        outcome = "there already" if one.was_there else f"fetched: {count:,} file{'s' if count > 1 else ''}"
        checked = f"{one.title} as published" if one.published else f"no checksum is published; its {one.title} is"
        where = "" if one.published else f", recorded in {root / RECORDS}"
        typer.echo(f"{one.name}: {outcome} ({checked} {one.digest}{where})")


@app.command("check")
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
