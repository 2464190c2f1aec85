"""Options that several verbs share, and what they are turned into."""

from __future__ import annotations

from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.data.dataset import Splits
    from pellucid.evaluation.training_images import SeenImages
    from pellucid.utils.result import Result

Model = Annotated[
    Path,
    typer.Argument(
        help="A run folder, a model folder, or SOURCE:NAME for a network of others, as timm:resnet50.a1_in1k; "
        "`pellucid models import --help` says which there are.",
        show_default=False,
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Run the Python code that a model folder brings with it; refused otherwise."),
]
DataName = Annotated[str, typer.Option("--data", help="A dataset by name; `pellucid data list` shows them.")]
Root = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads it at run time)
    typer.Option(help="The folder that holds the data; for `table`, the table.", show_default=False),
]
DataOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--data-option",
        metavar="KEY=VALUE",
        help="An option of the dataset, as positive=PNEUMONIA.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The folder to write to.", file_okay=False, show_default=False)]
Limit = Annotated[Optional[int], typer.Option(min=1, help="Use at most so many images.", show_default=False)]  # noqa: UP045
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything left to chance.")]
Split = Annotated[str, typer.Option(help="Which part of the data: train, validation or test.")]
Cache = Annotated[Optional[Path], typer.Option(help="Keep decoded images in this folder.", show_default=False)]  # noqa: UP045
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Wait for another process that works in the same folder; without it, that is refused."),
]
Layer = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="{layer}: at the output of this layer, as in the network's named_modules(), instead of the last feature "
        "map.",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time.")]

AllowTrainingImages = Annotated[
    bool,
    typer.Option(
        "--allow-training-images",
        help="Also judge on images that the network was trained on, and count them in the result; they are refused "
        "otherwise.",
    ),
]


def alone_in_out(command: Callable[..., None]) -> Callable[..., None]:
    """The command, during which no other process works in the folder that it writes to.

    Several files make a result: those of two commands at once would be mixed, and each would look whole.
    """

    @wraps(command)
    def run(**options: Any) -> None:  # noqa: ANN401
        from pellucid.utils.locks import hold

        with hold(options["out"]):
            command(**options)

    return run


def open_splits(name: str, root: Path | None, options: Sequence[str] | None, seed: int = 0) -> Splits:
    """The dataset that the options name."""
    from pellucid.data.registry import open_dataset

    return open_dataset(name, root, seed=seed, options=key_values(options))


def key_values(texts: Sequence[str] | None) -> dict[str, Any]:
    """``["a=1", "b.c=x"]`` as nested values."""
    from pellucid.utils.settings import merge, parse_override

    values: dict[str, Any] = {}
    for text in texts or ():
        merge(values, parse_override(text))
    return values


def pick_device(name: str) -> str:
    """`auto` as the best device there is; any other name as it is, if torch has it.

    Raises:
        InputError: for a device that is unknown or absent.
    """
    import torch

    from pellucid.types import InputError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device must be auto, cpu, cuda or mps; found {name!r}.")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[name]:
        raise InputError(f"--device {name}, but torch sees no such device. Use --device auto.")
    return name


def choices(text: str, names: Any, kind: str) -> list[str]:  # noqa: ANN401
    """Names as `split_names` reads them, each of them known."""
    from pellucid.utils.resources import check_known
    from pellucid.utils.settings import split_names

    return check_known(split_names(text), names, kind)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def show_result(result: Result, out: Path | None = None, *, shared: bool = False) -> None:
    """Save a result, print its tables, and say what a reader must know of it and where it lies.

    Args:
        result: what a verb returned.
        out: the folder to write to; None where nothing is written.
        shared: whether other processes may work there too, as on the same areas, so that writing waits for theirs.

    Raises:
        InputError: figures that are undefined, because the model gives no answer on some of the images.
    """
    from pellucid.types import InputError
    from pellucid.utils.locks import hold

    with hold(out, wait=True) if out is not None and shared else nullcontext():
        paths = [] if out is None else result.save(out)
    for table in result.tables():
        show(table.title, table.columns, table.rows)
    for text in result.warnings:
        typer.echo(f"note: {text}", err=True)
    for path in paths:
        wrote(path)
    if result.problem is not None:  # after writing, so that what is undefined stands there with its reason
        raise InputError(result.problem)


def tell_seen(seen_images: SeenImages, *, judging: bool = True) -> None:
    """Say which of the images the network has seen before."""
    for message in seen_images.messages(judging=judging):
        typer.echo(f"note: {message}", err=True)


def wrote(path: Path | str) -> None:
    """Say where a result lies."""
    typer.echo(f"wrote {path}")
