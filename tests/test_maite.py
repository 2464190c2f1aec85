"""Models, datasets and measures behind MAITE's protocols: their members, what they give, and MAITE's own evaluation."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from maite.protocols import image_classification as protocols
from maite.tasks import evaluate
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, roc_auc_score

import pellucid as pl
from helpers.models import small
from pellucid.evaluation.maite import MaiteDataset, MaiteMetric, MaiteModel
from pellucid.evaluation.metrics.plain import auroc
from pellucid.types import InputError, InputSpec

MEMBERS = {  # of maite 0.10.3, maite.protocols.image_classification: by name, how many arguments each takes
    "Model": {"metadata": None, "__call__": 1},
    "Dataset": {"metadata": None, "__getitem__": 1, "__len__": 0},
    "Metric": {"metadata": None, "reset": 0, "update": 3, "compute": 0},
}


@pytest.fixture(scope="module")
def parts():
    data = pl.dataset("phantom", split="test", size=32, train=8, validation=8, test=12, prevalence=0.4)
    model = small(size=32, classes=data.classes)
    return MaiteModel(model), MaiteDataset(data, model.input_spec), MaiteMetric("multilabel", classes=data.classes)


def test_they_have_the_members_of_the_protocols(parts):
    for part, members in zip(parts, MEMBERS.values(), strict=True):
        for name, arguments in members.items():
            member = getattr(part, name)
            if arguments is None:
                assert isinstance(member["id"], str)
            else:
                parameters = inspect.signature(member).parameters.values()
                assert sum(p.default is p.empty for p in parameters) == arguments


def test_maites_own_evaluation_takes_them(parts):
    model, data, metric = parts
    assert isinstance(model, protocols.Model)
    assert isinstance(data, protocols.Dataset)
    assert isinstance(metric, protocols.Metric)
    figures, predicted, _ = evaluate(model=model, dataset=data, metric=metric, batch_size=5, return_preds=True)
    probabilities = np.concatenate([np.stack(batch) for batch in predicted])
    own = pl.evaluate(model.model, data.dataset)
    assert figures["auroc"] == pytest.approx(own.figure("auroc").value)
    assert probabilities.shape == (12, len(data.dataset.classes))


def test_a_model_gives_the_probabilities_of_the_images_of_a_dataset(parts):
    model, data, metric = parts
    items = [data[i] for i in range(len(data))]
    images, targets, about = zip(*items, strict=True)
    assert data[-1][2] == about[-1]
    assert [a["id"] for a in about] == list(data.dataset.ids)
    assert all(image.shape == (1, 32, 32) and image.dtype == np.float32 for image in images)
    np.testing.assert_array_equal(np.stack(targets), data.dataset.targets)
    probabilities = model(images)
    with torch.no_grad():
        expected = model.model(torch.from_numpy(np.stack(images))).sigmoid().numpy()
    np.testing.assert_allclose(np.stack(probabilities), expected, atol=1e-6)
    for rows in (slice(0, 7), slice(7, 12)):
        metric.update(probabilities[rows], targets[rows], about[rows])
    figures = metric.compute()
    areas = [auroc(expected[:, k], np.stack(targets)[:, k]) for k in range(expected.shape[1])]
    assert figures["auroc"] == pytest.approx(np.nanmean(areas))
    assert figures["auroc_low"] <= figures["auroc"] <= figures["auroc_high"]
    metric.reset()
    with pytest.raises(InputError, match="call update first"):
        metric.compute()


def test_figures_of_exclusive_classes_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    probabilities = rng.dirichlet([1, 1, 1], 60) * 0.6 + 0.4 * np.eye(3)[truth]
    probabilities[0] = [1, 0, 0]  # whose logits have no end
    metric = MaiteMetric("multiclass")
    metric.update(probabilities, np.eye(3)[truth], [{"id": i} for i in range(60)])
    figures = metric.compute()
    said = probabilities.argmax(1)
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))
    assert figures["auroc"] == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr"))
    precision = np.mean([average_precision_score(truth == k, probabilities[:, k]) for k in range(3)])
    assert figures["average_precision"] == pytest.approx(precision)
    assert figures["accuracy_n"] == 60


def test_images_of_one_patient_belong_together():
    """Twice the same images of the same patients narrow no interval."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    probabilities = np.stack([1 - truth, truth], 1) * 0.3 + rng.dirichlet([1, 1], 40) * 0.7
    widths = []
    for copies in (1, 3):
        metric = MaiteMetric("multiclass", ["accuracy"])
        for copy in range(copies):
            about = [{"id": f"{i}-{copy}", "patient": f"p{i}"} for i in range(40)]
            metric.update(probabilities, np.eye(2)[truth], about)
        figures = metric.compute()
        widths.append(figures["accuracy_high"] - figures["accuracy_low"])
    assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_bad_input(parts):
    model, data, _ = parts
    with pytest.raises(InputError, match=r"takes images \(1, 32, 32\); found one \(1, 8, 8\)"):
        model([np.zeros((1, 8, 8))])
    with pytest.raises(InputError, match="0, 1"):
        model([np.full((1, 32, 32), 255.0)])
    with pytest.raises(InputError, match="Did you mean 'accuracy'"):
        MaiteMetric("multiclass", ["acuracy"])
    with pytest.raises(InputError, match="found 1, 0, 0"):
        MaiteMetric().update([[1.0, 0.0]], [], [])
    about = [{"patient": "p"}]
    for task, probabilities, targets, message in (
        ("multiclass", [2.5, -1.0], [1, 0], r"probabilities in \[0, 1\] are needed; found \[2\.5, -1\.0\]"),
        ("multilabel", [2.5, 0.1], [1, 0], r"probabilities in \[0, 1\]"),
        ("multiclass", [0.9, 0.1], [np.nan, np.nan], "with a single one; found"),
        ("multiclass", [0.9, 0.1], [0, 0], "with a single one"),
        ("multilabel", [0.9, 0.1], [0.3, 1], "NaN where a label is unknown; found"),
        ("multiclass", [0.9, 0.1], [1, 0, 0], r"one number is needed for each class; found shapes \(2,\), \(3,\)"),
        ("multiclass", [0.9, 0.1], 0, r"found shapes \(\), \(2,\)"),
    ):
        metric = MaiteMetric(task)
        with pytest.raises(InputError, match=message):
            metric.update([probabilities], [targets], about)
        with pytest.raises(InputError, match="call update first"):
            metric.compute()
    with pytest.raises(InputError, match=r"found shapes \(2,\), \(3,\)"):
        MaiteMetric(classes=["a", "b", "c"]).update([[0.9, 0.1]], [[1, 0]], about)
    assert len(MaiteDataset(data.dataset, InputSpec.square(1, 16))[0][0][0]) == 16
