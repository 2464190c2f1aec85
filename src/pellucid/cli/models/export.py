"""`pellucid models export`: a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import wrote


def export(
    model: options.Model,
    out: Annotated[Path, typer.Option("--out", help="The file to write.", dir_okay=False)],
    form: Annotated[str, typer.Option("--format", help="onnx or torchscript.")] = "onnx",
    trust_code: options.TrustCode = False,
) -> None:
    """Write a model for other programs: pixels in [0, 1] to logits, with the normalisation inside.

    The file says as metadata how images are prepared, the classes and the thresholds; what it gives is compared with
    what the model gives here before it is written.

    Example: `pellucid models export runs/first --format onnx --out first.onnx`
    """
    from pellucid.models import load_model
    from pellucid.models.export import export_model

    wrote(export_model(load_model(model, trust_code=trust_code), out, form))  # type: ignore[arg-type]  # it looks itself
