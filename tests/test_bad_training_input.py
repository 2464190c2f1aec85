"""What a training run cannot work with: said in one error, and no run left behind."""

from __future__ import annotations

import pytest

from pellucid.types import InputError
from training_example import run


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["training.select=auc"], ["training.select", "Did you mean 'auroc'?"]),
        (["objective.loss=cross_entropy"], ["not for a multilabel task"]),
        (["model.name=smal"], ["Did you mean 'small'?"]),
        (["model.options.stemstride=2"], ["Did you mean 'stem_stride'?"]),
    ],
)
def test_what_cannot_work_is_said_before_any_image_is_decoded(phantom, tmp_path, monkeypatch, overrides, parts):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(InputError) as caught:
        run(phantom, tmp_path / "run", *overrides)
    for part in parts:
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_image_that_cannot_be_read_leaves_no_run_behind(phantom, tmp_path):
    def broken(index):
        raise InputError("images/12.png: truncated")

    import dataclasses

    spoilt = {**phantom, "train": dataclasses.replace(phantom["train"], read=broken)}
    with pytest.raises(InputError, match=r"images/12.png"):
        run(spoilt, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_in_place_of_the_folder_is_refused(phantom, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file; --out names a folder"):
        run(phantom, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
