"""Commands one after the other in one process, with the package of `tests/plugin` installed."""

from __future__ import annotations

import json
import sys
import warnings

from typer.testing import CliRunner

from pellucid.cli.app import app


def main() -> None:
    """Run the command lines that stand as a JSON list of lists on standard input."""
    printed = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for words in json.load(sys.stdin):
            result = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
            printed.append([result.exit_code, result.output])
            if result.exit_code:
                printed[-1][1] += repr(result.exception)
    json.dump({"printed": printed, "warnings": [str(w.message) for w in caught]}, sys.stdout)


if __name__ == "__main__":
    main()
