"""The `pellucid` command: parse, call, print. Torch is imported only by the verbs that need it."""

from __future__ import annotations

import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from pellucid import __version__
from pellucid.cli import (
    ara,
    attack_explanation,
    audit,
    certify,
    certify_explanation,
    demo,
    discover,
    evaluate,
    explain,
    localize,
    study,
    train,
    trust,
)
from pellucid.cli.annotate import commands as annotate
from pellucid.cli.data import commands as data
from pellucid.cli.method_help import MethodCommand
from pellucid.cli.models import commands as models

INTERRUPTED = 128 + 2  # the exit status of a program that ended by the signal of Ctrl-C


class Interrupted(Exception):  # noqa: N818
    """Ctrl-C, under a name that typer does not know: it would end the program without a word."""


class Commands(TyperGroup):
    """The commands; Ctrl-C in any of them reaches `main`."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (of click or of typer's own copy of it, as its version has it)
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


app = typer.Typer(
    name="pellucid",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Train image classifiers robustly, explain their answers, and measure how far the explanations can be "
        "trusted.\n\n"
        "Start with `pellucid demo`: it trains two small networks on built-in synthetic radiographs, scores their "
        "explanations and writes a report."
    ),
)
app.command("demo")(demo.demo)
app.command("study")(study.study)
app.command("train")(train.train)
app.command("audit", cls=MethodCommand)(audit.audit)
app.command("discover")(discover.discover)
app.command("evaluate")(evaluate.evaluate)
app.command("localize", cls=MethodCommand)(localize.localize)
app.command("ara", cls=MethodCommand)(ara.ara)
app.command("certify")(certify.certify)
app.command("explain", cls=MethodCommand)(explain.explain)
app.command("attack-explanation", cls=MethodCommand)(attack_explanation.attack_explanation)
app.command("certify-explanation", cls=MethodCommand)(certify_explanation.certify_explanation)
app.command("trust", cls=MethodCommand)(trust.trust)
app.add_typer(annotate.app, name="annotate")
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")


def _version(flag: bool) -> None:
    if flag:
        typer.echo(f"pellucid {__version__}")
        raise typer.Exit


@app.callback()
def _callback(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    pass


def _say(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print the project's own warnings as notes; leave the others out of a user's sight."""
    if category is UserWarning or category.__module__.startswith("pellucid."):
        typer.echo(f"note: {message}", err=True)


def main() -> None:
    """Run the command; what the user or the system can mend is one message, not a traceback."""
    import warnings

    from pellucid.types import InputError
    from pellucid.utils.system_errors import in_words

    warnings.showwarning = _say
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a name shows its code points
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except InputError as error:
        sys.exit(f"pellucid: {error}")
    except (Interrupted, KeyboardInterrupt):
        typer.echo(
            "pellucid: interrupted. What was finished is kept; the same command (train: with --resume) goes on.",
            err=True,
        )
        sys.exit(INTERRUPTED)
    except (OSError, MemoryError, RuntimeError) as error:
        message = str(error) if type(error).__name__ == "TrainingError" else in_words(error)
        if message is None:
            raise
        sys.exit(f"pellucid: {message}")


if __name__ == "__main__":
    main()
