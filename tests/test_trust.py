"""The table of trust: noise does not pass, the true mask passes place and fails randomisation, nothing is made up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.models import small
from helpers.trust import Template, constant, fixed_noise, fresh_noise, linear, samples_of
from pellucid.data import open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.readers.phantom.options import VisibleShortcut
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.evaluation.trust.attack import judge_attack, with_attack
from pellucid.evaluation.trust.faithfulness import hottest_first_curve
from pellucid.evaluation.trust.findings import Findings, TrustSettings, keep_findings, read_findings
from pellucid.evaluation.trust.infidelity import infidelity, square_effects
from pellucid.evaluation.trust.judge import budget, judge_method, judge_network, steps_of_method
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.measures import MEASURES, QUESTIONS
from pellucid.evaluation.trust.rows import trust_row, trust_table
from pellucid.evaluation.trust.run import Trust
from pellucid.evaluation.trust.samples import targets_of
from pellucid.evaluation.trust.shortcut import shortcut_task
from pellucid.evaluation.trust.yardsticks import CENTRED, EDGES, MEAN_MAP, OWN_SPECTRUM
from pellucid.models import wrap
from pellucid.report.pages.trust import TrustPage, in_a_sentence, write_trust
from pellucid.types import InputError, InputSpec
from pellucid.utils.progress import reporting_to
from pellucid.utils.results_store import ResultsStore

QUICK = TrustSettings(samples=2, examples=1, attacked=2, attack_steps=1)
OPTIONS = {
    "size": 32,
    "train": 1,
    "validation": 1,
    "test": 8,
    "prevalence": 0.5,
    "shortcuts": {"letter": {"finding": "Nodule"}},
}


@pytest.fixture(scope="module")
def judged():
    """A network with drawn weights on a phantom with a shortcut; noise, a constant map and saliency."""
    data = open_dataset("phantom", options=OPTIONS)["test"]
    net = small(classes=data.classes)
    subjects = samples_of(net, data, planted=VisibleShortcut("letter", "Nodule"))
    network = judge_network(net, subjects, QUICK)
    explainers = [fresh_noise(), fixed_noise(), constant(), Mapper("saliency")]
    others = {"twin": net, "other": small(1, classes=data.classes)}
    found = [
        with_attack(judge_method(e, net, subjects, QUICK, others=others), judge_attack(e.name, net, subjects, QUICK))
        for e in explainers
    ]
    return net, subjects, network, found


@pytest.fixture(scope="module")
def table(judged):
    _, subjects, network, found = judged
    rows = trust_table(network, found, subjects.patients)
    return {(r.measure, r.method, r.label.rpartition(": ")[2] if r.measure == "agreement" else ""): r for r in rows}


@pytest.mark.parametrize("noise", ["fresh noise", "fixed noise"])
def test_noise_does_not_pass(table, noise):
    for measure in ("dependence_rank", "dependence_ssim"):
        row = table[measure, noise, ""]
        assert row.verdict in {"no", "unclear"}  # fixed noise is 0 on each of few images: others may not be
        assert abs(row.value) < 0.1
    for measure in ("flipping_gain", "insertion_gain", "place_gain"):
        assert table[measure, noise, ""].verdict != "yes"


def test_shares_of_a_shortcut_stand_beside_a_uniform_maps(table, judged):
    task = judged[1].shortcut
    for measure, masks in (("marker_share", task.marker), ("finding_share", task.finding)):
        row = table[measure, "trivial: uniform", ""]
        assert row.value == pytest.approx(masks.mean())
        assert row.n == len(masks)
        noise = table[measure, "fixed noise", ""].value  # which lies anywhere alike
        assert 0.2 * row.value < noise < 5 * row.value


def test_few_values_give_no_verdict():
    few, enough = (trust_row("insertion_gain", "cam", Estimate(0.2, 0.1, 0.3, n)) for n in (4, 5))
    assert (few.verdict, enough.verdict) == ("unclear", "yes")


def test_a_constant_map_is_null_with_the_reason_everywhere(table):
    rows = [r for (_, method, _), r in table.items() if method == "constant"]
    assert len(rows) > 12
    for row in rows:
        plain = row.to_json()
        assert (plain["value"], plain["low"], plain["verdict"]) == (None, None, None)
        assert plain["reason"]
    assert table["deletion_area", "constant", ""].reason.startswith("the map is the same everywhere")


def test_the_uniform_map_is_scored_analytically(judged, table):
    _, subjects, network, _ = judged
    shares = subjects.localization.masks.mean((1, 2))
    row = table["auprc", "trivial: uniform", ""]
    assert row.value == pytest.approx(shares.mean())
    assert network.yardsticks["uniform"]["auprc"].tolist() == shares.tolist()


def test_the_network_agrees_with_itself(table):
    assert table["agreement", "saliency", "twin"].value == pytest.approx(1.0)
    assert table["agreement", "saliency", "other"].value < 0.9


def test_every_row_says_what_it_means_and_belongs_to_a_question(table):
    for row in table.values():
        assert row.question in QUESTIONS
        assert row.means.endswith((".", "."))
        assert row.not_means
        assert math.isnan(row.value) == (row.n == 0)
        assert row.reason or not math.isnan(row.low)
    assert {r.question for r in table.values()} == set(QUESTIONS)
    assert {r.measure for r in table.values()} == set(MEASURES) - {"certified_cells"}  # no image was to be


def test_gains_are_the_difference_to_the_best_trivial_map(judged, table):
    _, _, network, found = judged
    trivial = {
        name: own["deletion_area"]
        for name, own in (*network.yardsticks.items(), *found[-1].yardsticks.items())
        if "deletion_area" in own
    }
    assert len(trivial) == 5
    gains = {name: (area - found[-1].values["deletion_area"]).mean() for name, area in trivial.items()}
    row = table["flipping_gain", "saliency", ""]
    assert row.value == pytest.approx(min(gains.values()))
    assert row.best == min(gains, key=gains.get)


def test_the_work_is_what_the_budget_says(judged):
    net, subjects, _, found = judged
    steps = []
    mapper = Mapper("saliency")
    with reporting_to(lambda count, _: steps.append(count)):
        judge_method(mapper, net, subjects, QUICK)
    planned = budget(net, subjects, QUICK)
    assert mapper.explained == mapper.gradient_evaluations == planned["explanations_per_method"]
    assert sum(steps) == steps_of_method(planned, len(subjects.images))
    assert found[-1].cost["gradient_evaluations"] > 0


def test_the_true_mask_is_perfectly_faithful_to_a_network_that_adds_up_the_finding():
    """White findings on black, one class per image, the logit 8 · (share of the finding there) − 4: all is known."""
    data = open_dataset("phantom", options={**OPTIONS, "shortcuts": {}})["test"]
    masks = torch.from_numpy(samples_of(net_of(data), data).localization.masks)
    masks = masks[masks.sum((1, 2)) < 200].float()
    sizes = masks.sum((1, 2))
    net = wrap(
        Template((8 * masks / sizes[:, None, None])[:, None], torch.full((len(masks),), -4.0)),
        mean=[0.0],
        std=[1.0],
        task="multilabel",
        classes=[str(i) for i in range(len(masks))],
        input_spec=InputSpec.square(1, 32),
    )
    images, targets = masks[:, None], torch.arange(len(masks))
    assert infidelity(square_effects(net, images, targets), masks).abs().max() < 1e-6
    gone = hottest_first_curve("deletion", net, images, targets, masks, across=32)
    share = sizes.double() / 1024
    left = (1 - gone.share / share[:, None]).clamp_min(0)  # of the finding, if it goes first
    expected = (8 * (left + (1 - left) * share[:, None]) - 4).sigmoid()
    torch.testing.assert_close(gone.score, expected, atol=1e-4, rtol=1e-4)
    for seed in range(3):
        noise = torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed))
        assert (hottest_first_curve("deletion", net, images, targets, noise, across=32).area > gone.area).all()


def test_the_true_mask_is_perfect_for_place_and_fails_randomisation():
    data = open_dataset("phantom", options={**OPTIONS, "shortcuts": {}})["test"]
    net = net_of(data)
    subjects = samples_of(net, data)
    found = judge_method(mask_explainer(subjects), net, subjects, QUICK)
    rows = {
        r.measure: r
        for r in trust_table(judge_network(net, subjects, QUICK), [found], subjects.patients)
        if r.method == "true mask"
    }
    assert (rows["auprc"].value, rows["pointing"].value) == (1.0, 1.0)
    assert rows["place_gain"].verdict == "yes"
    assert (rows["dependence_rank"].verdict, rows["dependence_rank"].value) == ("unclear", 0)
    assert (rows["dependence_ssim"].verdict, rows["dependence_ssim"].value) == ("unclear", 0)


def net_of(data):
    return small(classes=data.classes)


def mask_explainer(subjects):
    """Looks an image up, and gives the region of the class explained, or of any class where there is none."""
    task = subjects.localization
    known = {
        (task.images[i].tobytes(), int(task.outputs[c])): m
        for i, c, m in zip(task.pair_image, task.pair_class, task.masks, strict=True)
    }

    def draw(_, images, targets, __):
        maps = []
        for image, target in zip(images, targets.tolist(), strict=True):
            mask = known.get(((image * 255).round().to(torch.uint8).numpy().tobytes(), target))
            maps.append(np.zeros(images.shape[2:]) if mask is None else mask)
        return torch.from_numpy(np.stack(maps)).float()

    return Mapper("true mask", draw)


def test_an_image_alone_has_figures_and_no_intervals():
    data = open_dataset("phantom", options={**OPTIONS, "test": 1})["test"]
    net = small(classes=data.classes)
    subjects = samples_of(net, data)
    rows = trust_table(
        judge_network(net, subjects, QUICK), [judge_method(Mapper("cam"), net, subjects, QUICK)], subjects.patients
    )
    own = {r.measure: r for r in rows if r.method == "cam"}
    assert own["deletion_area"].n == 1
    assert own["deletion_area"].reason == "1 image only, and an interval needs 5"
    assert own["flipping_gain"].verdict == "unclear"


def test_the_class_explained():
    logits = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert targets_of(logits, np.array([0, 0]), "multiclass").tolist() == [2, 0]
    truth = np.array([[1.0, 1.0, np.nan], [0.0, 0.0, 0.0]])
    assert targets_of(logits, truth, "multilabel").tolist() == [1, 0]


def test_what_is_kept_comes_back_and_belongs_to_its_settings(judged, tmp_path):
    found = judged[3][-1]
    keep_findings(ResultsStore(tmp_path, {"seed": 1}), "saliency", found)
    store = ResultsStore(tmp_path, {"seed": 1})
    again = read_findings(store, "saliency")
    assert isinstance(again, Findings)
    assert (again.method, again.reasons, again.layers, again.cost) == (
        found.method,
        found.reasons,
        found.layers,
        found.cost,
    )
    for name, values in found.values.items():
        np.testing.assert_array_equal(values, again.values[name])
    assert set(found.yardsticks) == {CENTRED, EDGES, MEAN_MAP, OWN_SPECTRUM}
    for yardstick, own in found.yardsticks.items():
        for name, values in own.items():
            np.testing.assert_array_equal(values, again.yardsticks[yardstick][name])
    assert read_findings(store, "cam") is None
    with pytest.raises(InputError, match="seed: 1 there, 2 here"):
        ResultsStore(tmp_path, {"seed": 2})
    (tmp_path / "saliency.npz").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"saliency\.npz is damaged .* It is measured again"):
        assert read_findings(store, "saliency") is None


def test_the_share_on_a_shortcut_of_a_network_that_hangs_on_nothing_else():
    """Saliency of a sum over the places that markers take is the same on all of them, and 0 elsewhere."""
    data = open_dataset("phantom", options={**OPTIONS, "test": 16})["test"]
    task = shortcut_task(FittedImages(data, InputSpec.square(1, 32)), VisibleShortcut("letter", "Nodule"), data.classes)
    corner = torch.from_numpy(task.marker.any(0)).float().expand(8, 1, 32, 32)
    net = linear(corner, classes=data.classes)
    subjects = samples_of(net, data, planted=VisibleShortcut("letter", "Nodule"))
    found = judge_method(Mapper("saliency"), net, subjects, QUICK)
    expected = (task.marker & task.marker.any(0)).sum((1, 2)) / task.marker.any(0).sum()
    assert found.values["marker_share"].tolist() == pytest.approx(expected.tolist())
    assert found.reasons.keys() == {"grid_pointing"}


def test_the_page_says_undefined_and_escapes(judged, tmp_path):
    _, subjects, network, found = judged
    rows = trust_table(network, found, subjects.patients)
    trust = Trust(network, {f.method: f for f in found}, rows, {}, len(subjects.images))
    page = TrustPage("<b>bold</b>", {"Network": "a & b"}, trust, subjects.images[:1].numpy(), ["<i>one</i>"])
    text = write_trust(page, tmp_path / "trust.html").read_text()
    assert "<b>bold</b>" not in text
    assert "<i>one</i>" not in text
    assert "a &amp; b" in text
    assert text.count("the map is the same everywhere") > 5
    assert "best trivial map" in text
    assert "All trivial maps" in text
    assert "is shown to be above every trivial map: fresh noise in 0 of 3" in text
    assert "✗ no" in text
    assert text.count("<svg") == 5
    assert text.index("</h1>") < text.index('<div class="firsts">') < text.index("<table")  # pictures before tables


def test_the_verdicts_in_a_sentence():
    rows = [
        trust_row("insertion_gain", "cam", Estimate(0.2, 0.1, 0.3, 9), best="centred"),
        trust_row("flipping_gain", "cam", Estimate(0.2, -0.1, 0.3, 9), best="centred"),
        trust_row("attacked_rank", "cam", Estimate(0.2, 0.1, 0.3, 9)),
        trust_row("attacked_rank", "saliency", Estimate(0.8, 0.7, 0.9, 9)),
        trust_row("insertion_area", "trivial: centred", Estimate(0.2, 0.1, 0.3, 9)),
    ]
    assert in_a_sentence(rows) == (
        "Tests in which an explanation is shown to be above every trivial map: CAM in 1 of 2. "
        "Refuted: CAM (likeness under a directed attack, rank correlation)."
    )
    assert in_a_sentence(rows[-1:]) == "No explanation could be held against a trivial map."


def test_the_documentation_names_every_measure():
    path = Path(__file__).resolve().parents[1] / "docs" / "trust.md"
    if not path.is_file():
        pytest.skip("the documentation is not here")
    text = path.read_text(encoding="utf-8")
    assert [name for name in MEASURES if f"`{name}`" not in text] == []
