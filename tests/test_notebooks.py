"""The notebooks run from beginning to end, at toy size, and are committed with what they showed at their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
if not FOLDER.is_dir():
    pytest.skip("the documentation is not here", allow_module_level=True)

TOY = {  # what takes the place of the cell tagged `parameters`
    "ara": {"size": 32, "train_images": 16, "validation_images": 8, "test_images": 12, "epochs": 1}
    | {"prevalence": 0.5, "limit": 12},
    "audit": {"size": 32, "train_images": 16, "test_images": 12, "epochs": 1, "limit": 4},
    "believe": {"size": 32, "train_images": 16, "validation_images": 8, "test_images": 8, "epochs": 1}
    | {"judged": 2, "samples": 1, "attacked": 1, "steps": 1},
    "robust": {"size": 32, "train_images": 16, "validation_images": 8, "test_images": 8, "epochs": 1}
    | {"limit": 2, "attacked": 2, "steps": 1},
    "teach": {"size": 32, "train_images": 24, "validation_images": 8, "test_images": 24, "epochs": 1}
    | {"marked": 2, "limit": 8},
}
NOTEBOOKS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.ipynb"))}


def code_cells(name: str) -> list[dict[str, Any]]:
    return [cell for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == "code"]


def test_every_notebook_has_a_toy_size():
    assert sorted(NOTEBOOKS) == sorted(TOY)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shown: list[object] = []
    names: dict[str, Any] = {"__name__": "__main__", "display": shown.append}
    for cell in code_cells(name):
        source = "".join(cell["source"])
        exec(compile(source, f"{name}.ipynb", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert TOY[name].keys() <= names.keys()
            names |= TOY[name]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_committed_with_its_outputs_and_small(name: str):
    cells = code_cells(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 500_000
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))  # one run, in this order
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {"execute_result", "display_data"} & {output["output_type"] for output in outputs}
    assert "error" not in {output["output_type"] for output in outputs}
    text = json.dumps(NOTEBOOKS[name])
    assert "/home/" not in text
    assert "/tmp/" not in text
    assert "site-packages" not in text  # a warning names the machine's folders
