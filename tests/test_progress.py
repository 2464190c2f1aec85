"""Progress bars where there is no terminal to draw them in."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import rich.console

from helpers.training import run
from pellucid.training import session
from pellucid.utils import progress


def test_a_notebook_without_widgets_gets_the_finished_bar_and_no_warning(monkeypatch, capsys):
    monkeypatch.setenv("PELLUCID_PROGRESS", "1")
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)  # as a kernel says of its stream
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress.progress_bar("counting", 3) as move:
            for _ in range(3):
                move()
    written = capsys.readouterr().err
    assert written.count("counting") == 1
    assert "3/3" in written
    assert "\x1b" not in written


def test_what_is_switched_off_writes_nothing(monkeypatch, capsys):
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")
    with progress.progress_context("counting", 2):
        progress.advance(2)
    assert capsys.readouterr() == ("", "")


def test_a_training_counts_its_steps_and_not_the_images_that_it_is_judged_on(phantom, tmp_path, monkeypatch):
    heard = []

    @contextmanager
    def listen(description, total, *, unit, completed):
        heard.append((total, unit, completed))
        with progress.reporting_to(lambda count, note: heard.append((count, note.partition(" loss")[0]))):
            yield

    monkeypatch.setattr(session, "progress_context", listen)
    run(phantom, tmp_path / "run", "training.epochs=2", name="standard")
    total, unit, completed = heard.pop(0)
    assert (len(heard), unit, completed) == (total, "step", 0)
    assert heard == [(1, f"epoch {e}") for e in (1, 2) for _ in range(total // 2)]


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_short_job_shows_no_bar_while_it_is_waited_for(patience, monkeypatch, capsys):
    monkeypatch.setenv("PELLUCID_PROGRESS", "1")
    with progress.progress_bar("counting", 1, patience=patience) as move:
        move()
    assert ("counting" in capsys.readouterr().err) == (patience == 0)
