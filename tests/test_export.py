"""Models as files of ONNX and TorchScript, run by other programs and brought back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from helpers.models import small
from pellucid.models import save_model, wrap
from pellucid.models.export import export_model
from pellucid.types import InputError, InputSpec

runtime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model():
    return small(task="multiclass", size=(40, 48), classes=["NORMAL", "PNEUMONIA"])


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_an_exported_model_gives_the_same_elsewhere_and_comes_back(form, model, pellucid, tmp_path):
    save_model(model, tmp_path / "m", extra={"thresholds": [0.4, 0.6]})
    status, _, err = pellucid("models", "export", tmp_path / "m", "--format", form, "--out", tmp_path / "file")
    assert status == 0, err
    images = torch.rand(5, 1, 40, 48)
    with torch.no_grad():
        expected = model(images).numpy()
    if form == "onnx":
        session = runtime.InferenceSession(str(tmp_path / "file"))
        outputs = session.run(None, {"pixels": images.numpy()})[0]
        facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    else:
        extra = {"pellucid.json": ""}
        script = torch.jit.load(tmp_path / "file", _extra_files=extra)
        outputs, facts = script(images).detach().numpy(), json.loads(extra["pellucid.json"])
    np.testing.assert_allclose(outputs, expected, atol=1e-5, rtol=1e-4)
    assert facts["classes"] == ["NORMAL", "PNEUMONIA"]
    assert facts["thresholds"] == [0.4, 0.6]
    assert InputSpec.parse(facts["preprocess"], facts["channels"]) == model.input_spec
    status, _, err = pellucid("models", "import", form, tmp_path / "file", "--out", tmp_path / "again")
    assert status == 0, err
    for back in (pl.load(f"{form}:{tmp_path / 'file'}"), pl.load(tmp_path / "again", trust_code=True)):
        assert back.classes == model.classes
        assert back.task == model.task
        assert back.input_spec == model.input_spec
        assert back.card["thresholds"] == [0.4, 0.6]
        with torch.no_grad():
            np.testing.assert_allclose(back(images).numpy(), expected, atol=1e-5, rtol=1e-4)
    renamed = pl.load(f"{form}:{tmp_path / 'file'}", classes=["a", "b"])  # what is given goes before what it says
    assert renamed.classes == ("a", "b")
    assert "thresholds" not in renamed.card


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_logits_between_zero_and_one_are_not_asked_about_and_a_class_may_have_no_threshold(form, tmp_path):
    class Constant(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) / 4 + 0.25

    spec = InputSpec.parse("crop:40:32x24:bicubic:floor", 3)
    parts = {"mean": [0.1] * 3, "std": [2.0] * 3, "task": "multilabel", "classes": list("abc"), "input_spec": spec}
    original = wrap(Constant(), **parts)
    original.card = {"thresholds": [0.5, float("nan"), 0.25]}
    export_model(original, tmp_path / "file", form)
    back = pl.load(f"{form}:{tmp_path / 'file'}")
    assert (back.task, back.outputs, back.input_spec) == ("multilabel", "logits", spec)
    np.testing.assert_array_equal(back.card["thresholds"], [0.5, float("nan"), 0.25])
    images = torch.rand(3, 3, 32, 24)
    torch.testing.assert_close(back(images), original(images))


def test_metadata_that_are_not_as_written_are_refused_and_those_of_other_programs_left_alone(model, tmp_path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(export_model(model, tmp_path / "file"))
    for entry in graph.metadata_props:
        entry.value = '"detect"' if entry.key == "task" else entry.value
    onnx.save(graph, tmp_path / "altered")
    with pytest.raises(InputError, match=r"altered says of its classes and images is not as Pellucid writes it"):
        pl.load(f"onnx:{tmp_path / 'altered'}")
    del graph.metadata_props[2:]
    onnx.save(graph, tmp_path / "other")
    with pytest.raises(InputError, match="does not say classes, preprocess, mean, std"):
        pl.load(f"onnx:{tmp_path / 'other'}")


def test_what_cannot_be_exported_is_said_and_nothing_written(model, tmp_path):
    with pytest.raises(InputError, match=r"unknown format 'onxx'\. Did you mean 'onnx'"):
        export_model(model, tmp_path / "f", "onxx")

    class Branches(nn.Module):
        """What it computes depends on the values, which a trace does not keep."""

        def forward(self, x):
            values = x.mean((2, 3))
            return values * 2 if float(x[0].std()) > 0.1 else -values

    spec = InputSpec.square(3, 16)
    branching = wrap(Branches(), mean=[0] * 3, std=[1] * 3, task="multilabel", classes=list("abc"), input_spec=spec)
    for form in ("onnx", "torchscript"):
        with pytest.raises(InputError, match=f"as {form} the model gives other outputs than here"):
            export_model(branching, tmp_path / "f", form)

    class Raises(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x[:, :, :3, :3].mean(1)).real

    raising = wrap(Raises(), mean=[0] * 3, std=[1] * 3, task="multilabel", classes=list("abc"), input_spec=spec)
    with pytest.raises(InputError, match="cannot be written as onnx"):
        export_model(raising, tmp_path / "f", "onnx")
    assert not list(tmp_path.iterdir())
