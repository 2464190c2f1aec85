"""`pellucid discover` as a user types it: what it writes, and what it refuses."""

from __future__ import annotations

import pytest

import pellucid as pl
from helpers.models import draw_convolutions, small
from pellucid.evaluation.discovery.results import Discovery
from pellucid.models.weights import save_model

CLASSES = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=1).classes


def phantom(count):
    options = {"size": 32, "train": 1, "validation": 1, "test": count, "prevalence": 0.5}
    return ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in options.items()), "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(draw_convolutions(small(classes=CLASSES)), tmp_path_factory.mktemp("network") / "net")


@pytest.mark.slow
def test_the_folder_holds_what_was_found(model, tmp_path, pellucid):
    code, output, _ = pellucid("discover", model, *phantom(60), "--out", tmp_path)
    assert code in (0, None)
    discovery = Discovery.load(tmp_path)
    assert len(discovery.ids) == 60
    assert discovery.counts["forward_passes"] > 126 * 30
    assert (tmp_path / "discover.html").read_text().startswith("<!")
    assert discovery.headline.split()[0] in output


def test_too_few_images_are_refused_before_any_work(model, tmp_path, pellucid):
    code, *_ = pellucid("discover", model, *phantom(3), "--out", tmp_path / "out")
    assert "3 images are too few to find what a model goes by: 40 are needed at least" in str(code)
    assert not (tmp_path / "out" / "kept").exists()
