"""One folder and two commands: the second is refused before it reads anything, or, where work is shared, it waits."""

from __future__ import annotations

import threading

import pytest

from pellucid.cli.output import show_result
from pellucid.utils.locks import hold
from pellucid.utils.result import Result

ALONE = {
    "audit": ["model", "--data", "phantom"],
    "evaluate": ["model", "--data", "phantom"],
    "localize": ["model", "--data", "phantom"],
    "certify": ["model", "--data", "phantom"],
    "certify-explanation": ["model", "--data", "phantom"],
    "trust": ["model", "--data", "phantom"],
    "explain": ["model", "image.png"],
    "attack-explanation": ["model", "image.png"],
    "models": ["import", "onnx", "model.onnx"],
}


@pytest.mark.parametrize("command", list(ALONE))
def test_a_second_command_is_refused_in_one_sentence_and_writes_nothing(command, tmp_path, pellucid):
    out = tmp_path / "out"
    with hold(out):
        code, output, _ = pellucid(command, *ALONE[command], "--out", out)
        assert code.startswith(f"pellucid: {out} is held by process ")
        assert code.endswith("which is still at work there. Wait for it, or choose another --out.")  # it has no --wait
        assert output == ""
        assert [path.name for path in out.iterdir()] == [".lock"]
    code, _, _ = pellucid(command, *ALONE[command], "--out", out)
    assert "no model at model" in code or "model.onnx" in code  # it is free again
    assert not out.exists()


class Figures(Result):
    name = "figures"
    rows, tables = [], list

    def to_json(self):
        return {}


@pytest.mark.filterwarnings("ignore:.* is held by")
def test_a_result_that_several_processes_make_is_written_by_one_after_the_other(tmp_path):
    with hold(tmp_path):
        other = threading.Thread(target=show_result, args=(Figures(), tmp_path), kwargs={"shared": True})
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    other.join(60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.csv", "figures.json"]
