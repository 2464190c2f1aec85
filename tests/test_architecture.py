"""The built wheel: it carries recipes, studies and templates, and runs the demo from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pellucid import __version__

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that pip builds of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(ROOT), "--wheel-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_every_file_of_the_package_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {n for n in archive.namelist() if ".dist-info/" not in n}
    source = {
        f"pellucid/{path.relative_to(ROOT / 'src/pellucid').as_posix()}"
        for path in (ROOT / "src/pellucid").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == source
    for kind in ("recipes/khakzar2019-robust.toml", "studies/demo.toml", "report/templates/report.html.j2", "py.typed"):
        assert f"pellucid/{kind}" in packed


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())
        (scripts,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert "pellucid = pellucid.cli.app:main" in archive.read(scripts).decode()
    assert f"Version: {__version__}" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "Author: The Pellucid contributors" in metadata


def test_the_installed_wheel_runs_the_demo_from_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    arguments = ["demo", "--limit", "24", "--jobs", "1", "--device", "cpu", "--out", "here"]
    overrides = [
        "settings.training.epochs=1",
        "settings.model={name='small', size=48, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
        "data.options={size=48, train=24, validation=24, test=24, prevalence=0.4}",
        "evaluation.robustness={sizes=['pgd:linf=0.01'], steps=1}",
        "evaluation.trust.methods=[]",
        "evaluation.adversarial={cases=1, classes=1, rhos=[0.01]}",
        "evaluation.resamples=100",
        "evaluation.panels=1",
    ]
    code = "import pellucid, sys; print('from', pellucid.__file__); from pellucid.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, *(f"--set={text}" for text in overrides)],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PELLUCID_PROGRESS": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert f"from {site}" in done.stdout  # not the checkout
    assert {p.name for p in empty.iterdir()} == {"here"}
    page = (empty / "here" / "report.html").read_text(encoding="utf-8")
    assert "Robust training on the chest phantom" in page
    assert str(ROOT) not in page
    results = json.loads((empty / "here" / "results.json").read_text())
    assert len(results["variants"]) == 2
