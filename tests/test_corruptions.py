"""Common corruptions: what each does, beside closed forms and Pillow; what is said of what they leave; in an audit."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import norm
from sklearn.metrics import accuracy_score

import pellucid as pl
from helpers.models import small
from pellucid.audit.elsewhere import corruption_figures
from pellucid.audit.half_lead import CHANCE, constant_figure, half_lead, lead
from pellucid.audit.settings import AuditSettings
from pellucid.audit.verdict import _elsewhere
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import accuracy, auroc
from pellucid.evaluation.metrics.statistics import Replicates
from pellucid.evaluation.robustness.corruptions import SEVERITIES, corrupt, logits_corrupted
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.report.charts.corruptions import corruption_charts
from pellucid.report.pages.audit import corruption_table
from pellucid.types import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    """Smooth colours with a bright square, away from the ends of the range."""
    grid = torch.linspace(0.3, 0.6, 128)
    plane = grid[:, None] * 0.5 + grid[None] * 0.5
    batch = torch.stack([plane, plane.flip(0), plane * 0.9]).expand(4, 3, 128, 128).clone()
    batch[:, :, 40:72, 48:88] += 0.2
    return batch


@pytest.mark.parametrize("name", SEVERITIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_corruption_grows_with_its_severity_and_keeps_shape_and_range(images, name, channels):
    part = images[:, :channels]
    distances = []
    for severity in range(1, 6):
        corrupted = corrupt(part, name, severity, generator())
        assert corrupted.shape == part.shape
        assert 0 <= float(corrupted.min()) <= float(corrupted.max()) <= 1
        assert torch.equal(corrupted, corrupt(part, name, severity, generator()))
        distances.append(float((corrupted - part).square().mean()))
    assert distances == sorted(distances)
    assert distances[0] > 0


def test_they_are_what_they_are_called(images):
    first = images[:, :1]
    noise = corrupt(torch.full((2, 1, 128, 128), 0.5), "noise", 3, generator()) - 0.5
    assert float(noise.std()) == pytest.approx(0.08, rel=0.02)
    blurred = corrupt(first, "blur", 5, generator())[0, 0].numpy()
    expected = ndimage.gaussian_filter(first[0, 0].numpy(), 0.026 * 128, mode="mirror", truncate=3)
    np.testing.assert_allclose(blurred, expected, atol=5e-3)
    bright = corrupt(images, "brightness", 2, generator()) - images
    assert set(bright.mean((1, 2, 3)).mul(100).round().abs().tolist()) == {10.0}
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(corrupt(images, "contrast", 3, generator()), mean + 0.4 * (images - mean))
    gamma = corrupt(images, "gamma", 3, generator())
    for one, image in zip(gamma, images, strict=True):
        assert any(torch.allclose(one, image**power, atol=1e-5) for power in (2, 0.5))
    turned = corrupt(first, "rotation", 5, generator(1))[0, 0]
    angles = [ndimage.rotate(first[0, 0].numpy(), a, reshape=False, order=1, mode="mirror") for a in (25, -25)]
    inside = np.s_[32:-32, 32:-32]
    assert min(np.abs(turned.numpy()[inside] - other[inside]).max() for other in angles) < 0.03
    kept = corrupt(torch.linspace(0, 1, 100)[None, None, None].expand(3, 1, 100, 100), "crop", 5, generator())
    reach = kept[:, 0, 50].amax(1) - kept[:, 0, 50].amin(1)
    torch.testing.assert_close(reach, torch.full((3,), 0.55), atol=0.02, rtol=0)


def test_jpeg_is_pillows(images):
    picture = (images[0] * 255).round().byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=25, subsampling=2)
    expected = np.asarray(Image.open(stream), dtype=np.float32) / 255
    found = corrupt(images, "jpeg", 3, generator())[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).mean() < 2 / 255


def test_what_they_leave_is_compared_with_the_same_images(images):
    """Noise turns half of the answers of 80 images over, contrast none."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 80)
    logits = np.stack([1 - truth, truth], 1).astype(np.float32)
    logits[:8] = logits[:8, ::-1]
    worse = logits.copy()
    worse[8:48] = worse[8:48, ::-1]
    card = DatasetCard("made", "Made", "multiclass", ("a", "b"))
    names = tuple(map(str, range(80)))
    data = Dataset(card, "test", names, names, truth, lambda i: None)
    found = corruption_figures(logits, {"noise": [logits, worse, worse, worse, worse], "contrast": [logits] * 5}, data)
    rows = {(r["corruption"], r["severity"]): r for r in found["rows"]}
    assert found["clean"]["value"] == pytest.approx(accuracy_score(truth, logits.argmax(1)))
    assert rows["noise", 2]["value"] == pytest.approx(accuracy_score(truth, worse.argmax(1)))
    assert rows["noise", 2]["difference"]["value"] == pytest.approx(-0.5)
    assert rows["noise", 2]["p"] < rows["noise", 2]["p_corrected"] < 1e-6
    assert rows["contrast", 5]["difference"]["value"] == 0
    assert rows["contrast", 5]["p"] is None  # nothing changed
    assert found["tests"] == 4
    assert found["lost"] == {"noise": 2, "contrast": None}
    (statement,) = _elsewhere({"elsewhere": found})
    assert (statement.kind, statement.short) == ("fails", "does not withstand noise")
    table = corruption_table(found)
    assert table.columns[:3] == ("Uncorrupted", "Severity 1", "Severity 2")
    assert [cell.value for cell in table.lines[0].cells] == [
        "0.900",
        "0.900",
        *["0.400"] * 4,
        "2, 3, 4, 5",
        "2, 3, 4, 5",
    ]
    assert [cell.value for cell in table.lines[1].cells[-2:]] == ["not shown", "not shown"]
    level = found | {"base": found["clean"]["value"]}  # nothing to lose: that it loses nothing says nothing
    assert corruption_table(level).lines[0].cells[-1] is None
    assert "not shown to be above that answer" in corruption_table(level).note
    assert [chart.title for chart in corruption_charts(found)] == ["Noise", "Contrast"]
    half = rows["noise", 2]["half"]
    assert half["value"] == pytest.approx(0.4 - (0.9 + found["base"]) / 2)
    assert half["p"] < half["p_corrected"] < 0.05


def of_pairs(right_before, right_after, truth):
    """Answers that are right where they are said to be, and the data."""
    names = tuple(map(str, range(len(truth))))
    data = Dataset(
        DatasetCard("made", "Made", "multiclass", ("a", "b", "c", "d")), "test", names, names, truth, lambda i: None
    )
    said = [np.where(right, truth, (truth + 1) % 4) for right in (right_before, right_after)]
    return [np.eye(4, dtype=np.float32)[one] for one in said], data


def test_half_of_the_lead_is_tested_with_the_uncertainty_of_both_figures():
    """Of 400 populations in which just half of the lead is left, few are said to have lost more than half.

    By whether the whole interval of the corrupted figure lies below the middle between two point estimates, it was
    more.
    """
    rng, size, hits, naive = np.random.default_rng(1), 40, 0, 0
    for _ in range(400):
        truth = rng.choice(4, size, p=(0.49, 0.17, 0.17, 0.17))
        before, after = rng.random(size) < 0.89, rng.random(size) < 0.69  # a constant answer has 0.49
        (clean, altered), data = of_pairs(before, after, truth)
        draws = Bootstrap(data.patients, 100, 0)
        figures = [accuracy(one.argmax(1).astype(float), truth, draws) for one in (clean, altered)]
        half = half_lead(figures[1], figures[0], constant_figure(data, draws))
        hits += half["high"] < 0
        base = np.bincount(truth).max() / size
        naive += figures[1].estimate().high < (figures[0].value + base) / 2
    assert hits / 400 <= 0.025 + 2 * 0.008  # of one side, with two standard errors
    assert naive > hits


def test_its_interval_is_that_of_resampled_patients():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, 600)
    before = rng.random(600) < 0.8
    (clean, altered), data = of_pairs(before, before & (rng.random(600) < 0.5), truth)
    draws = Bootstrap(data.patients, 500, 0)
    figures = [accuracy(one.argmax(1).astype(float), truth, draws) for one in (clean, altered)]
    half = half_lead(figures[1], figures[0], constant_figure(data, draws))
    right = [one.argmax(1) == truth for one in (clean, altered)]
    constant = truth == np.bincount(truth).argmax()
    rows = rng.integers(0, 600, (4000, 600))
    drawn = (right[1][rows] - right[0][rows] / 2 - constant[rows] / 2).mean(1)
    assert (half["low"], half["high"]) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.006)


def test_what_lies_above_chance_is_as_sure_as_the_figure_itself():
    """Also where one class of a mean has one positive, of which no difference of two estimates has an interval."""
    rng = np.random.default_rng(3)
    truth = (rng.random((40, 3)) < 0.4).astype(float)
    truth[:, 2] = np.arange(40) == 4
    scores, draws = rng.normal(size=truth.shape) - 2 * truth, Bootstrap(range(40), 200)
    mean = Replicates.mean([auroc(scores[:, k], truth[:, k], draws) for k in range(3)])
    figure, contrast = mean.estimate(), lead(mean, CHANCE)
    moved = [value - CHANCE for value in (figure.value, figure.low, figure.high)]
    assert [contrast[key] for key in ("value", "low", "high")] == pytest.approx(moved)
    assert contrast["high"] < 0
    z = 1.959964 * moved[0] / (moved[2] - moved[0])  # as far from 0 as the interval reaches towards it
    assert contrast["p"] == pytest.approx(2 * norm.cdf(z), rel=1e-4)


def test_half_is_lost_only_where_a_loss_is_shown(monkeypatch):
    """However far below the middle: without a corrected p of the loss itself nothing is lost."""
    truth = np.arange(80) % 2
    logits = np.stack([1 - truth, truth], 1).astype(np.float32)
    names = tuple(map(str, range(80)))
    data = Dataset(DatasetCard("made", "Made", "multiclass", ("a", "b")), "test", names, names, truth, lambda i: None)
    worse = {"noise": [logits[:, ::-1]] * 5}
    assert corruption_figures(logits, worse, data)["lost"] == {"noise": 1}
    module = sys.modules[corruption_figures.__module__]
    unshown = {"difference": {"value": -1.0, "low": -1.0, "high": 0.1}, "p": 0.2}
    monkeypatch.setattr(module, "difference_test", lambda *_: dict(unshown))
    assert corruption_figures(logits, worse, data)["lost"] == {"noise": None}


@pytest.mark.parametrize(
    ("noisy", "wrong", "tests", "kind"), [(0, 0, 10, "holds"), (1, 0, 10, "fails"), (0, 9, 0, "holds")]
)
def test_a_verdict_needs_no_p_value(noisy, wrong, tests, kind):
    """Where no image changes there is nothing to test but between perfect figures, and the intervals tell."""
    targets, names = np.arange(90) % 3, tuple(f"{i}" for i in range(90))
    card = DatasetCard("made", "Made", "multiclass", ("a", "b", "c"))
    data = Dataset(card, "test", names, names, targets, lambda i: None)
    logits = np.eye(3, dtype=np.float32)[targets]
    logits[:wrong] = np.roll(logits[:wrong], 1, 1)
    found = corruption_figures(logits, {"noise": [np.roll(logits, noisy, 1)] * 5, "blur": [logits] * 5}, data)
    assert found["tests"] == tests
    assert [statement.kind for statement in _elsewhere({"elsewhere": found})] == [kind]


def test_a_corruption_under_which_there_is_no_answer_is_said_to_be_the_reason():
    """And no more images are asked for, which would not mend it."""
    targets, names = np.arange(90) % 3, tuple(f"{i}" for i in range(90))
    card = DatasetCard("made", "Made", "multiclass", ("a", "b", "c"))
    data = Dataset(card, "test", names, names, targets, lambda i: None)
    logits = np.eye(3, dtype=np.float32)[targets]
    silent, half = logits.copy(), logits.copy()
    silent[:4] = np.nan
    half[:30] = np.roll(half[:30], 1, 1)
    (one,) = _elsewhere({"elsewhere": corruption_figures(logits, {"noise": [silent] * 5, "blur": [logits] * 5}, data)})
    assert one.kind == "unclear"
    assert one.text.endswith(
        "Whether it keeps that much under noise at severity 3 cannot be said. Under noise it gives no answer on some "
        "images."
    )
    assert one.advice == "Look at its weights and at its normalisation."
    figures = corruption_figures(logits, {"noise": [silent] * 5, "blur": [half] * 5}, data)
    (one,) = _elsewhere({"elsewhere": figures})
    assert one.advice == "Corrupt more images (`--corrupted`). Look at its weights and at its normalisation."


def test_worse_at_some_severities_is_not_said_of_those_between():
    def row(severity, p):
        return {
            "corruption": "crop", "severity": severity, "value": 0.6, "low": 0.5, "high": 0.7, "p_corrected": p,
            "difference": {"value": -0.2}, "half": {"low": -0.1},
        }  # fmt: skip

    rows = [row(s, p) for s, p in zip(range(1, 6), (1.0, 0.042, 0.48, 0.32, 0.002), strict=True)]
    figures = {
        "metric": "auroc", "images": 30, "clean": {"value": 0.79, "low": 0.67, "high": 0.85}, "base": 0.5,
        "rows": rows, "lost": {"crop": None}, "tests": 5,
    }  # fmt: skip
    (statement,) = _elsewhere({"elsewhere": figures})
    assert "under crop at severities 2 and 5 (AUROC 0.60 [0.50, 0.70] at 2)" in statement.text
    assert "half of its lead over a constant answer under crop at severity 3 cannot be said" in statement.text


def test_a_network_as_good_as_a_constant_answer_is_seldom_called_worse_than_it():
    """Under any corruption: the answers are right as often as the class that is most frequent in truth."""
    generator, trials, names = np.random.default_rng(3), 60, tuple(map(str, range(40)))
    false = 0
    for _ in range(trials):
        truth = (generator.random(40) < 0.7).astype(int)
        data = Dataset(DatasetCard("made", "Made", "multiclass", ("a", "b")), "test", names, names, truth, print)
        answers = [np.eye(2)[np.where(generator.random(40) < 0.7, truth, 1 - truth)] for _ in range(16)]
        corrupted = {name: answers[1 + 5 * k :][:5] for k, name in enumerate(("noise", "blur", "jpeg"))}
        found = corruption_figures(answers[0], corrupted, data)
        false += any(r["lead"]["value"] < 0 and r["lead"]["p_corrected"] < 0.05 for r in found["rows"])
    assert false <= 6  # 0.025 of 60 are 1.5; of a binomial with that mean more than 6 come once in a thousand


def test_bad_input():
    with pytest.raises(InputError, match="Did you mean 'noise'"):
        corrupt(torch.rand(1, 1, 8, 8), "nois", 1, generator())
    with pytest.raises(InputError, match="from 1 to 5; found 6"):
        corrupt(torch.rand(1, 1, 8, 8), "noise", 6, generator())


@pytest.mark.slow
@pytest.mark.usefixtures("empty_charts")
def test_in_an_audit_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[corruption_figures.__module__], "RESAMPLES", 40)
    data = pl.dataset("phantom", split="test", size=32, train=8, validation=8, test=24)
    model = small(size=32, classes=data.classes)
    settings = AuditSettings(few=2, corrupted=20, attacks=(), trust=TrustSettings(samples=1, attacked=0))
    options = {"settings": settings, "methods": ["saliency"], "out": tmp_path}
    result = pl.audit(model, data, **options)
    found = result.results["elsewhere"]
    assert found["images"] == 20
    assert found["metric"] == "auroc"
    assert list(found["lost"]) == list(SEVERITIES)
    part = data.limit(20)
    pixels = np.stack([part.read(i) for i in range(20)])[:, None]
    with torch.no_grad():
        clean = model(torch.from_numpy(pixels).float() / 255).numpy()
        noisy = logits_corrupted(model, pixels, "noise", 4)
    expected = corruption_figures(clean, {"noise": [clean, clean, clean, noisy, clean]}, part)
    assert found["rows"][3]["value"] == pytest.approx(expected["rows"][3]["value"])
    result.save(tmp_path)
    assert "<h2>Will it hold up elsewhere?</h2>" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "tables" / "corruptions.csv").is_file()
    stored = json.loads((tmp_path / "audit.json").read_text())
    assert {p["name"] for p in stored["parts"]} >= {"elsewhere"}
    calls = []
    monkeypatch.setattr("pellucid.verbs.auditing.measuring.logits_corrupted", lambda *a, **k: calls.append(a))
    assert pl.audit(model, data, **options).results["elsewhere"] == found  # kept
    assert calls == []


def test_the_documentation_states_the_strengths():
    text = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")
    for name, (meaning, strengths) in SEVERITIES.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert line == f"| `{name}` | {meaning.partition(';')[0]} | {', '.join(f'{s:g}' for s in strengths)} |"
