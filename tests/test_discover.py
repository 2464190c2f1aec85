"""What a network goes by is known, since its logits are written by hand; `discover` must find that, and no more."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import pellucid as pl
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.regions import Region, Regions
from pellucid.evaluation.discovery import mediation, run
from pellucid.evaluation.discovery.candidates import Squares, best_windows, marks_left_out, strongest, whole_images
from pellucid.evaluation.discovery.comparison import _verdict
from pellucid.evaluation.discovery.content.presence import otsu, where_it_differs
from pellucid.evaluation.discovery.content.whole_image import STATISTICS, WholeImage
from pellucid.evaluation.discovery.description import is_confirmed, sign_flip_p
from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds, log_odds
from pellucid.evaluation.discovery.inference import associations, mean_differences, permuted, permuted_z
from pellucid.evaluation.discovery.measuring import rows_to_judge
from pellucid.evaluation.discovery.samples import MarkedPairs, Samples
from pellucid.evaluation.discovery.settings import DiscoverySettings
from pellucid.evaluation.discovery.showing import images_showing
from pellucid.evaluation.discovery.suspect import Effect
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.types import InputError

SIDE, N = 24, 120
CLASSES = ("finding", "other")
CORNER = (slice(0, 4), slice(20, 24))
MIDDLE = (slice(10, 14), slice(10, 14))
QUICK = DiscoverySettings(cells=6, screened=40, tested=60, permutations=400)


class ReadsPixels(nn.Module):
    """Logits that are sums of the means of rectangles and of the whole: what goes by what is written in the weights."""

    def __init__(self, corner=0.0, middle=6.0, whole=0.0):
        super().__init__()
        weights = torch.zeros(2, SIDE, SIDE)
        weights[0][CORNER] += corner / 16
        weights[:, MIDDLE[0], MIDDLE[1]] += middle / 16
        weights[0] += whole / SIDE**2
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        return torch.einsum("nchw,khw->nk", images, self.weights)


def model_of(**weights):
    return pl.wrap(
        ReadsPixels(**weights),
        CLASSES,
        size=SIDE,
        channels=1,
        mean=[0.0],
        std=[1.0],
        outputs="logits",
        task="multilabel",
    )


def dataset_of(*, marker=0.9, brighter=0.0, marked=True, n=N, seed=3, metadata=None):
    """Images in which the finding brightens the middle, which is marked, and a marker in the corner goes with it."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.4).astype(np.float32)
    images = rng.normal(90, 12, (n, SIDE, SIDE))
    images[labels[:, 0] == 1, MIDDLE[0], MIDDLE[1]] += 60
    agrees = rng.random(n) < marker
    has_marker = np.where(agrees, labels[:, 0] == 1, labels[:, 0] == 0)
    images[has_marker, CORNER[0], CORNER[1]] += 100
    images[labels[:, 0] == 1] += brighter
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    card = DatasetCard("hand", "By hand", "multilabel", CLASSES)
    ids = tuple(f"image-{i:03d}" for i in range(n))
    box = (10 / SIDE, 10 / SIDE, 4 / SIDE, 4 / SIDE)
    items = tuple(Region(i, name, box) for i in range(n) for k, name in enumerate(CLASSES) if labels[i, k])
    data = Dataset(
        card, "test", ids, ids, labels, lambda i: pixels[i], Regions(items) if marked else None,
        metadata=metadata(labels) if metadata else {}, origin=f"{seed}-{marker}-{brighter}-{marked}",
    )  # fmt: skip
    return data, has_marker


@pytest.fixture(scope="module")
def found():
    data, has_marker = dataset_of()
    return pl.discover(model_of(corner=8.0), data, settings=QUICK), has_marker, data


def test_the_marker_is_the_first_suspect_and_the_marked_finding_is_expected(found):
    discovery, has_marker, _ = found
    first = discovery.suspects[0]
    assert (first.kind, first.class_name, first.name, first.expected) == (
        "place",
        "finding",
        "upper right corner",
        False,
    )
    assert len(discovery.unexpected) == 1
    truth = np.zeros((SIDE, SIDE), bool)
    truth[CORNER] = True
    np.testing.assert_array_equal(first.region, truth)
    np.testing.assert_array_equal(first.present, has_marker)
    assert [(s.kind, s.class_name) for s in discovery.suspects[1:]] == [("marked", "finding")]


def test_a_notebook_shows_an_image_with_each_suspect(found):
    discovery, _, _ = found
    shown = [suspect for suspect in discovery.unexpected if suspect.exemplars]
    assert discovery._repr_html_().count("<img") == len(shown) > 0


def test_effects_are_those_that_the_weights_give(found):
    """100 of 255 grey levels in the corner, times 8, however the rest looks; nothing of the other class."""
    first = found[0].suspects[0]
    of = {effect.class_name: effect for effect in first.effects}
    expected = 8 * 100 / 255
    assert of["finding"].put_in.value == pytest.approx(expected, rel=0.03)
    assert of["finding"].taken_away.value == pytest.approx(-expected, rel=0.03)
    assert of["finding"].put_in.low < expected < of["finding"].put_in.high
    assert of["other"].put_in.value == pytest.approx(0, abs=1e-6)


def test_the_share_is_what_the_corner_adds_to_the_distance_of_the_labels(found):
    discovery, has_marker, data = found
    labels = data.targets[:, 0] == 1
    pixels = np.stack([data.read(i) for i in range(N)]) / 255
    corner, middle = 8 * pixels[:, *CORNER].mean((1, 2)), 6 * pixels[:, *MIDDLE].mean((1, 2))
    parts = [part[labels].mean() - part[~labels].mean() for part in (corner, middle)]
    share = discovery.suspects[0].effects[0].share
    assert share.low < parts[0] / sum(parts) < share.high
    assert share.high - share.low < 0.3
    assert discovery.suspects[1].share == pytest.approx(parts[1] / sum(parts), abs=0.1)
    assert discovery.suspects[0].prevalence.value == pytest.approx(has_marker.mean())


def area_of(scores, labels):
    return stats.mannwhitneyu(scores[labels], scores[~labels]).statistic / (labels.sum() * (~labels).sum())


def test_figures_are_those_of_the_images_and_their_differences_have_intervals(found):
    """With it taken away, a corner of another image adds what it adds, independent of the label."""
    discovery, has_marker, data = found
    suspect = discovery.suspects[0]
    figures = {c.metric: c for c in suspect.consequences}
    one = figures["auroc"]
    assert one.change.value == pytest.approx(one.neutralised.value - one.usual.value)
    assert one.change.low < one.change.value < one.change.high < 0
    assert one.p_change < 0.05
    assert one.usual.n == suspect.details["judged"] == N  # by a feature it was tested on all
    labels = data.targets[:, 0] == 1
    scores = sum(parts_of(data, 8.0))
    for side, rows in ((one.with_it, has_marker), (one.without, ~has_marker)):
        counts = (labels & rows).sum(), (~labels & rows).sum()
        if min(counts) < 10:
            few = [f"{n} {kind}" for n, kind in zip(counts, ("positives", "negatives"), strict=True) if n < 10]
            assert side.reason == "; ".join(f"{text}, and 10 are needed" for text in few)
            assert math.isnan(side.value)
        else:
            assert side.value == pytest.approx(area_of(scores[rows], labels[rows]))
    sensitivity = figures["sensitivity"]
    assert sensitivity.with_it.n == (labels & has_marker).sum() or math.isnan(sensitivity.with_it.value)
    assert suspect.confirmed
    assert f"AUROC changes by {one.change.value:+.3f} [" in suspect.verdict.replace("−", "-")


def test_where_there_are_enough_all_figures_with_and_without_are_there():
    data, has_marker = dataset_of(n=400, marker=0.75)
    suspect = pl.discover(model_of(corner=8.0), data, settings=QUICK).suspects[0]
    labels, scores = data.targets[:, 0] == 1, sum(parts_of(data, 8.0))
    for one in suspect.consequences:
        assert one.apart.value == pytest.approx(one.with_it.value - one.without.value)
        assert one.apart.low < one.apart.value < one.apart.high
    area = suspect.consequences[0]
    assert area.with_it.value == pytest.approx(area_of(scores[has_marker], labels[has_marker]))
    assert area.without.value == pytest.approx(area_of(scores[~has_marker], labels[~has_marker]))
    groups = {
        (p, w): ((scores >= 0) == p)[(labels == p) & (has_marker == w)].mean()
        for p in (True, False)
        for w in (True, False)
    }
    assert suspect.worst.accuracy.value == pytest.approx(min(groups.values()))
    assert suspect.worst.groups == 4
    common = suspect.prevalence_of["finding"]
    assert common.apart.value == pytest.approx(has_marker[labels].mean() - has_marker[~labels].mean())
    assert common.p < 0.001


def test_images_to_judge_hold_the_positives_up_to_half():
    rng = np.random.default_rng(0)
    for positives, negatives, expected in (
        (18, 500, (18, 282)),
        (400, 500, (150, 150)),
        (400, 20, (280, 20)),
        (9, 9, (9, 9)),
    ):
        labels = rng.permutation(np.repeat([1.0, 0.0, np.nan], [positives, negatives, 30]))
        rows = rows_to_judge(labels, np.arange(len(labels)), rng)
        assert len(set(rows)) == len(rows)
        assert ((labels[rows] == 1).sum(), (labels[rows] == 0).sum()) == expected
    half = rows_to_judge(labels, np.arange(10), rng)
    assert set(half) <= set(range(10))


def test_an_intervention_confirms_where_it_moves_the_answer_for_sure_in_the_right_direction():
    def moved(low, high):
        return Estimate((low + high) / 2, low, high, 60)

    nothing = Estimate(math.nan, math.nan, math.nan, 0, "no image has it, or all have")
    few = Estimate(0.3, math.nan, math.nan, 3, "3 patients only, and an interval needs 5")
    surely = Estimate(-0.3, math.nan, math.nan, 60, "the resamples do not differ, so there is no interval")
    cases = [
        (moved(-1, -0.5), moved(0.5, 1), True),
        (moved(-0.04, 0.23), moved(0.1, 0.6), False),  # brightness for Hernia: taken away, the answer rose
        (moved(-1, -0.5), moved(-0.1, 1), False),
        (moved(-1, -0.5), nothing, True),
        (nothing, moved(0.1, 1), True),
        (moved(-1, -0.5), few, True),
        (surely, nothing, True),
        (nothing, few, False),
    ]
    for taken, put, expected in cases:
        assert is_confirmed(Effect("ill", taken, put, moved(0.1, 0.2), 0.001, 0.001)) == expected


def test_what_no_intervention_confirms_comes_after_all_others(found, monkeypatch):
    _, _, data = found
    monkeypatch.setattr("pellucid.evaluation.discovery.description.is_confirmed", lambda effect: False)
    discovery = pl.discover(model_of(corner=8.0), data, settings=QUICK)
    assert [s.confirmed for s in discovery.suspects] == [False, None]
    assert discovery.unconfirmed == discovery.unexpected
    assert discovery.headline == (
        "In 120 images we found no cue that the model relies on and nobody marked. 1 more goes with a class, but the "
        "intervention did not confirm it."
    )
    assert "Not confirmed by the intervention: taken away from images with it, the log-odds change by" in (
        discovery.suspects[0].verdict
    )
    assert "(not confirmed)" in discovery.tables()[0].rows[0][0]


def test_p_of_changes_is_the_share_of_all_ways_to_turn_patients():
    rng = np.random.default_rng(2)
    patients = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 7])
    for shift in (0.0, 0.4, 1.0):
        changes = rng.normal(shift, 1, 10)
        sums = np.bincount(patients, changes)
        every = np.array(list(itertools.product([-1, 1], repeat=8))) @ sums
        both = (np.abs(every) >= abs(sums.sum()) - 1e-9).mean()
        assert sign_flip_p(changes, patients) == pytest.approx(both, abs=0.03)
        assert sign_flip_p(changes, patients, falls=True) == pytest.approx(
            (every <= sums.sum() + 1e-9).mean(), abs=0.03
        )
    assert math.isnan(sign_flip_p(np.zeros(0), np.zeros(0, int)))


@pytest.mark.parametrize(
    ("weights", "marker"), [({"corner": 0.0}, 0.95), ({"corner": 8.0}, 0.5)], ids=["unused", "no association"]
)
def test_what_is_not_used_or_says_nothing_of_the_label_is_no_suspect(weights, marker):
    data, _ = dataset_of(marker=marker)
    assert pl.discover(model_of(**weights), data, settings=QUICK).unexpected == []


def test_a_cause_of_the_whole_image_is_found():
    data, _ = dataset_of(marker=0.5, brighter=25)
    first = pl.discover(model_of(whole=25.0), data, settings=QUICK).suspects[0]
    assert (first.kind, first.name, first.class_name) == ("whole image", "overall brightness", "finding")
    assert first.region.all()


def test_where_nobody_marked_anything_it_is_said():
    data, _ = dataset_of(marked=False)
    discovery = pl.discover(model_of(corner=8.0), data, settings=replace(QUICK, cells=12))
    assert {s.name for s in discovery.suspects if s.kind == "place"} >= {"upper right corner"}
    assert any(s.name == "middle of the image" for s in discovery.suspects)  # the finding itself, for all it knows
    assert all(math.isnan(s.overlap) for s in discovery.suspects)
    assert any("nobody marked where finding" in note for note in discovery.notes)


def test_a_column_that_goes_with_the_answers_is_found():
    def hospitals(labels):
        rng = np.random.default_rng(0)
        return {
            "hospital": ["A" if (rng.random() < 0.9) == bool(own) else "B" for own in labels[:, 0]],
            "weekday": [str(rng.integers(2)) for _ in labels],
        }

    data, _ = dataset_of(marker=0.5, metadata=hospitals)
    read = data.read
    is_a = np.array(data.metadata["hospital"]) == "A"
    bright = lambda i: np.clip(read(i).astype(int) + 30 * is_a[i], 0, 255).astype(np.uint8)  # noqa: E731
    discovery = pl.discover(model_of(whole=25.0), replace(data, read=bright), settings=QUICK)
    names = [s.name for s in discovery.unexpected]
    assert "hospital: A" in names
    assert not any("weekday" in name for name in names)
    column = next(s for s in discovery.suspects if s.kind == "metadata")
    assert column.effects[0].put_in.reason == "a column of metadata cannot be exchanged"


def test_with_metadata_what_is_found_in_images_has_half_of_the_level(found):
    discovery, _, data = found
    wards = replace(data, metadata={"ward": [str(i % 3) for i in range(N)]})
    halved = pl.discover(model_of(corner=8.0), wards, settings=QUICK).suspects[0].effects[0]
    whole = discovery.suspects[0].effects[0]
    assert (halved.p, halved.p_corrected) == (whole.p, 2 * whole.p_corrected)


def test_with_metadata_a_feature_that_passes_the_whole_level_only_does_not_take_the_place_of_an_exchange(monkeypatch):
    """Its p value, doubled, is above the level, and that of the exchange far below."""
    data, _ = dataset_of()
    sign_flips = mediation.sign_flips

    def barely(*args):
        z, p, corrected = sign_flips(*args)
        return z, np.full_like(p, 0.01), np.full_like(corrected, 0.01)

    monkeypatch.setattr(mediation, "sign_flips", barely)
    settings = replace(QUICK, permutations=2000)
    plain = pl.discover(model_of(corner=8.0), data, settings=settings).unexpected
    assert plain[0].effects[0].p_corrected == pytest.approx(0.04)
    wards = replace(data, metadata={"ward": [str(i % 3) for i in range(N)]})
    (first,) = pl.discover(model_of(corner=8.0), wards, settings=settings).unexpected
    assert "feature" not in first.details
    assert first.effects[0].p_corrected < 0.01


def test_a_call_goes_on_and_gives_the_same(found, tmp_path, monkeypatch):
    discovery, _, data = found
    model = model_of(corner=8.0)
    whole = pl.discover(model, data, settings=QUICK, out=tmp_path)
    assert [s.to_json() for s in whole.suspects] == [s.to_json() for s in discovery.suspects]
    pl.discover(model, data, settings=QUICK, out=tmp_path, compare=whole)
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("it was measured before"))
    again = pl.discover(model, data, settings=QUICK, out=tmp_path, compare=whole)
    assert again.rows == whole.rows
    (one,) = again.comparison["suspects"]
    assert one["verdict"].startswith("still there: its share was ")
    assert one["share_now"] == one["share_before"]  # the same exchanges of the same images
    assert [one["share_change"][key] for key in ("value", "low", "high")] == [0, 0, 0]


def parts_of(data, corner):
    """What the corner and the middle add to the log-odds of the finding: (N,) each, from the pixels alone."""
    pixels = np.stack([data.read(i) for i in range(len(data))]) / 255
    return corner * pixels[:, *CORNER].mean((1, 2)), 6 * pixels[:, *MIDDLE].mean((1, 2))


@pytest.mark.parametrize(("corner", "verdict"), [(0.0, "no longer found"), (3.0, "still there"), (0.23, "not told")])
def test_a_suspect_of_before_is_measured_anew_in_the_network_of_now(found, corner, verdict):
    discovery, _, data = found
    now = pl.discover(model_of(corner=corner), data, settings=QUICK, compare=discovery)
    (one,) = now.comparison["suspects"]
    assert one["verdict"].split(":")[0] == verdict
    rows = discovery.suspects[0].tested_rows
    labels = data.targets[rows, 0] == 1

    def share(weight):
        parts = [part[rows] for part in parts_of(data, weight)]
        apart = [part[labels].mean() - part[~labels].mean() for part in parts]
        return apart[0] / sum(apart)

    assert one["share_before"]["value"] == pytest.approx(share(8.0), abs=0.05)
    assert one["share_now"]["low"] - 0.02 <= share(corner) <= one["share_now"]["high"] + 0.02
    assert one["share_now"]["value"] == pytest.approx(share(corner), abs=0.05)
    change = one["share_change"]
    assert change["value"] == pytest.approx(one["share_now"]["value"] - one["share_before"]["value"])
    assert change["low"] < change["value"] < change["high"] < 0


def test_a_share_reads_on_its_side_of_the_least_that_is_reported():
    was = Estimate(0.3, 0.2, 0.4, 90)
    for high, said in (
        (0.0496, "2.00 % [1.00 %, 4.96 %], below the 5 %"),
        (0.054, "2.0 % [1.0 %, 5.4 %], which neither"),
    ):
        assert said in _verdict(was, Estimate(0.02, 0.01, high, 90), 0.4, QUICK)


def test_what_is_kept_of_a_suspect_is_not_taken_for_another_one_of_the_same_number(tmp_path, monkeypatch):
    """As with metadata, when images have half of the level, the first suspect may not pass, and another comes first."""
    data, _ = dataset_of()
    model = model_of(corner=8.0)
    pl.discover(model, data, settings=QUICK, out=tmp_path / "both")
    monkeypatch.setattr(run, "by_features", lambda *_: ([], 0))
    again, fresh = (pl.discover(model, data, settings=QUICK, out=tmp_path / name) for name in ("both", "fresh"))
    assert [one.to_json() for one in again.suspects] == [one.to_json() for one in fresh.suspects]
    assert "feature" not in again.unexpected[0].details


def test_what_the_change_cost_is_the_difference_of_both_networks_on_the_same_images(found):
    discovery, has_marker, data = found
    now = pl.discover(model_of(), data, settings=QUICK, compare=discovery)
    labels = data.targets[:, 0] == 1

    def area(scores, rows):
        one, other = scores[rows & labels], scores[rows & ~labels]
        return stats.mannwhitneyu(one, other).statistic / (len(one) * len(other))

    former, latter = sum(parts_of(data, 8.0)), sum(parts_of(data, 0.0))
    everything = np.ones(N, bool)
    of_class = now.comparison["auroc"][0]
    assert of_class["before"]["value"] == pytest.approx(area(former, everything))
    assert of_class["now"]["value"] == pytest.approx(area(latter, everything))
    assert of_class["change"]["value"] == pytest.approx(area(latter, everything) - area(former, everything))
    assert of_class["change"]["low"] < of_class["change"]["value"] < of_class["change"]["high"]
    assert now.comparison["auroc"][1]["change"]["value"] == 0  # nothing of the other class changed
    sets = now.comparison["suspects"][0]["auroc"]
    assert [one["images"] for one in sets] == ["with it", "without it"]
    for one, rows in zip(sets, (has_marker, ~has_marker), strict=True):
        counts = (rows & labels).sum(), (rows & ~labels).sum()
        if min(counts) < 10:
            assert (
                one["change"]["reason"] == f"{counts[0]} positives and {counts[1]} negatives, and 10 of each are needed"
            )
        else:
            assert one["change"]["value"] == pytest.approx(area(latter, rows) - area(former, rows))


def test_where_the_pixels_that_differ_are_others_the_same_window_is_measured(found):
    """A letter that moves a little differs at scattered pixels, others in each network: the window is what is meant."""
    discovery, _, data = found
    scattered = np.zeros((SIDE, SIDE), bool)
    scattered[12:20:3, ::5] = True
    elsewhere = replace(discovery, suspects=[replace(discovery.suspects[0], region=scattered)])
    again = pl.discover(model_of(corner=6.0), data, settings=QUICK, compare=elsewhere)
    assert again.comparison["suspects"][0]["verdict"].startswith("still there")


def test_suspects_of_other_images_of_the_data_are_measured_and_not_paired(found):
    discovery, _, data = found
    part = data.subset(range(100))
    (one,) = pl.discover(model_of(corner=8.0), part, settings=QUICK, compare=discovery).comparison["suspects"]
    assert one["verdict"].startswith("still there")
    assert one["share_change"]["reason"] == "the images of before are others, or were drawn otherwise"
    assert one["auroc"] == []


def test_suspects_of_other_data_or_another_size_are_not_compared(found):
    discovery, _, data = found
    other = replace(discovery, about=discovery.about | {"data": "elsewhere"})
    with pytest.raises(InputError, match="found on images of elsewhere, and hand was opened: name the same data"):
        pl.discover(model_of(), data, settings=QUICK, compare=other)
    smaller = replace(discovery.suspects[0], region=np.ones((8, 8), bool))
    gone = replace(discovery.suspects[0], class_name="goitre")
    again = pl.discover(model_of(), data, settings=QUICK, compare=replace(discovery, suspects=[smaller, gone]))
    assert [one["verdict"] for one in again.comparison["suspects"]] == [
        "not told: it was found at 8 × 8 pixels, and this network takes 24 × 24",
        "not told: this network has no class goitre",
    ]
    none = pl.discover(model_of(), data, settings=QUICK, compare=replace(discovery, suspects=[]))
    assert none.tables()[1].title == "No suspect was found before"


def test_whole_images_patches_and_columns_of_before_are_measured_anew_too():
    data, _ = dataset_of(marker=0.5, brighter=25, metadata=lambda labels: {"ward": [str(v) for v in labels[:, 0]]})
    finer = replace(QUICK, cells=12)  # whose squares fit beside the middle
    before = pl.discover(model_of(whole=25.0), data, settings=finer)
    first = before.suspects[0]
    patch = replace(first, kind="patch", name="a patch")
    column = replace(first, kind="metadata", name="ward: 1.0", details={"column": "ward"})
    gone = replace(column, details={"column": "view"})
    several = replace(before, suspects=[first, patch, column, gone])
    same, less = (
        pl.discover(model_of(whole=weight), data, settings=finer, compare=several).comparison["suspects"]
        for weight in (25.0, 0.0)
    )
    assert same[0]["verdict"].startswith("still there")
    assert same[0]["share_change"]["value"] == 0
    assert less[0]["share_change"]["high"] < 0  # what is brighter is so in the middle too, which it still reads
    assert same[2]["share_now"]["n"] == 60
    assert {one[3]["verdict"] for one in (same, less)} == {"not told: these images have no column view"}
    assert all(one[1]["share_now"]["value"] is not None for one in (same, less))


def test_the_images_of_another_part_that_show_it_are_found_as_its_own_were(found):
    discovery, has_marker, data = found
    model, suspect = model_of(corner=8.0), discovery.suspects[0]
    own = images_showing(suspect, discovery, FittedImages(data, model.input_spec), model)
    assert own.measured == 0
    np.testing.assert_array_equal(own.rows, np.flatnonzero(has_marker))
    other, has_marker = dataset_of(seed=4, n=90)
    showing = images_showing(suspect, discovery, FittedImages(other, model.input_spec), model)
    assert (showing.measured, showing.boxes) == (90, None)
    np.testing.assert_array_equal(showing.rows, np.flatnonzero(has_marker))
    few = FittedImages(other.subset(range(39)), model.input_spec)
    with pytest.raises(InputError, match="39 images are too few to tell which of them show suspect 1: 40 are needed"):
        images_showing(suspect, discovery, few, model)


def test_where_a_suspect_at_varying_places_lies_in_another_part_is_looked_for(found):
    """Nothing but the corner adds anything, so that each image that shows it has it in the square of that corner."""
    discovery, _, _ = found
    patch = replace(discovery.suspects[0], kind="patch", window=None, details={})
    finer = replace(discovery, settings=discovery.settings | {"cells": 12})  # whose squares fit beside the middle
    other, has_marker = dataset_of(seed=4, n=90)
    model = model_of(corner=8.0)
    showing = images_showing(patch, finer, FittedImages(other, model.input_spec), model)
    np.testing.assert_array_equal(showing.rows, np.flatnonzero(has_marker))
    assert {tuple(box) for box in showing.boxes} == {(18, 0, 6, 6)}


class SeesBeads(nn.Module):
    """The finding is read in the middle, and as much from a bright bead, wherever it lies."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(6.0))

    def forward(self, images):
        middle = images[:, 0, MIDDLE[0], MIDDLE[1]].mean((1, 2))
        beads = nn.functional.relu(nn.functional.avg_pool2d(images, 2, 1) - 0.8).sum((1, 2, 3))
        return torch.stack([self.weight * (middle + 2 * beads), self.weight * middle], 1)


def test_what_lies_now_here_now_there_is_found_at_its_own_place_on_each_image():
    data, _ = dataset_of(marker=0.5)  # the marker of the corner is as dark as the rest below
    rng = np.random.default_rng(7)
    has_bead = np.where(rng.random(N) < 0.9, data.targets[:, 0] == 1, data.targets[:, 0] == 0)
    around = np.array([(y, x) for y in range(SIDE - 1) for x in range(SIDE - 1) if min(y, x) < 5 or max(y, x) > 17])
    places = around[rng.integers(len(around), size=N)]  # beside the middle, anywhere

    def read(index):
        image = data.read(index).copy()
        image[CORNER] = 90
        if has_bead[index]:
            top, left = places[index]
            image[top : top + 2, left : left + 2] = 255
        return image

    beads = replace(data, read=read, origin="beads")
    model = pl.wrap(
        SeesBeads(), CLASSES, size=SIDE, channels=1, mean=[0.0], std=[1.0], outputs="logits", task="multilabel"
    )
    suspect = pl.discover(model, beads, settings=replace(QUICK, cells=12, tested=60)).unexpected[0]
    assert (suspect.kind, suspect.class_name) == ("patch", "finding")
    assert (suspect.present == has_bead).mean() > 0.95
    for row in np.flatnonzero(suspect.present & has_bead):
        (box,) = suspect.boxes[data.ids[row]]
        assert box.y <= places[row, 0] + 1 < box.y + box.height
        assert box.x <= places[row, 1] + 1 < box.x + box.width


def test_too_few_images_are_refused_with_how_many_are_needed():
    with pytest.raises(InputError, match="30 images are too few to find what a model goes by: 40 are needed"):
        pl.discover(model_of(), dataset_of(n=30)[0], settings=QUICK)


def test_a_class_without_images_is_refused_with_how_many_are_needed():
    data, _ = dataset_of(n=44)
    empty = replace(data, targets=np.zeros_like(data.targets))
    with pytest.raises(InputError, match="finding: 0 images with it, and 12 are needed for a claim"):
        pl.discover(model_of(), empty, settings=QUICK)


def test_a_model_that_ranks_images_the_wrong_way_round_is_refused():
    data, _ = dataset_of()
    with pytest.raises(InputError, match=r"the model is below chance"):
        pl.discover(model_of(middle=-6.0), data, settings=QUICK)


def test_images_of_different_sizes_are_compared_in_the_networks_frame(found):
    discovery, has_marker, data = found
    read = data.read
    larger = replace(data, read=lambda i: np.kron(read(i), np.ones((1 + i % 3, 1 + i % 2), np.uint8)), origin="larger")
    first = pl.discover(model_of(corner=8.0), larger, settings=QUICK).suspects[0]
    assert (first.kind, first.name) == ("place", "upper right corner")
    np.testing.assert_array_equal(first.present, has_marker)
    assert first.share == pytest.approx(discovery.suspects[0].share, abs=0.05)


def test_metadata_of_other_images_are_refused(tmp_path):
    (tmp_path / "table.csv").write_text("name,sex\nx.png,F\n")
    with pytest.raises(InputError, match="names none of the 120 images"):
        pl.discover(model_of(), dataset_of()[0], settings=QUICK, metadata=tmp_path / "table.csv")


# --- one class of several ---------------------------------------------------------------------------------------------


class ReadsPixelsOfOneClass(nn.Module):
    """Of exclusive classes one whose logit is the means of the corner and of the middle; the others' are 0."""

    def __init__(self, column, classes, corner):
        super().__init__()
        weights = torch.zeros(classes, SIDE, SIDE)
        weights[column][CORNER] += corner / 16
        weights[column][MIDDLE] += 6 / 16
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        return torch.einsum("nchw,khw->nk", images, self.weights)


def exclusive(order, *, marked=("ill",), corner=8.0, n=N):
    """A network and images of exclusive classes, of which `ill` is the finding; what is marked of it, of any class."""
    data, has_marker = dataset_of(n=n)
    is_ill = data.targets[:, 0] == 1
    others = [name for name in order if name != "ill"]
    names = [("ill" if ill else others[i % len(others)]) for i, ill in enumerate(is_ill)]
    box = (10 / SIDE, 10 / SIDE, 4 / SIDE, 4 / SIDE)
    regions = Regions(tuple(Region(i, name, box) for i, name in enumerate(names) if name in marked))
    images = replace(
        data, card=DatasetCard("hand", "By hand", "multiclass", order), regions=regions if marked else None,
        targets=np.array([order.index(name) for name in names]),
    )  # fmt: skip
    network = pl.wrap(
        ReadsPixelsOfOneClass(order.index("ill"), len(order), corner), order, size=SIDE, channels=1, mean=[0.0],
        std=[1.0], outputs="logits", task="multiclass",
    )  # fmt: skip
    return network, images, has_marker


@pytest.mark.parametrize("marked", [("ill",), ("well",)])
def test_of_two_classes_the_one_that_is_marked_is_searched_for_in_whichever_order_they_come(marked):
    (one, model, data), (other, *_) = (
        (pl.discover(model, data, settings=QUICK), model, data)
        for order in (("well", "ill"), ("ill", "well"))
        for model, data, _ in [exclusive(order, marked=marked)]
    )
    assert [s.to_json() for s in one.suspects] == [s.to_json() for s in other.suspects]
    for name, array in one.suspects[0].arrays().items():
        np.testing.assert_array_equal(array, other.suspects[0].arrays()[name])
    assert {s.class_name for s in one.suspects} == set(marked)
    assert (one.counts, one.unanswered, one.classes) == (other.counts, other.unanswered, other.classes[::-1])
    showing = images_showing(one.suspects[0], replace(one, ids=()), FittedImages(data, model.input_spec), model)
    np.testing.assert_array_equal(showing.rows, np.flatnonzero(one.suspects[0].present))


@pytest.mark.parametrize("order", [("well", "ill"), ("NORMAL", "ill")])
def test_the_images_with_it_are_those_of_the_second_class_where_nobody_marked(order):
    model, data, has_marker = exclusive(order, marked=())
    discovery = pl.discover(model, data, settings=QUICK)
    corner = next(s for s in discovery.suspects if s.name == "upper right corner")
    assert {s.class_name for s in discovery.suspects} == {"ill"}
    np.testing.assert_array_equal(corner.present, has_marker)


def test_what_is_marked_for_the_other_of_two_classes_is_a_mark_too():
    """Nothing goes by the corner; the middle, in which the finding is, is marked for both."""
    for order in (("well", "ill"), ("ill", "well")):
        model, data, _ = exclusive(order, marked=("well", "ill"), corner=0.0)
        discovery = pl.discover(model, data, settings=QUICK)
        assert discovery.unexpected == []
        assert [s.class_name for s in discovery.suspects] == [order[1]]


def test_of_three_exclusive_classes_each_is_searched_for():
    model, data, has_marker = exclusive(("well", "ill", "other"), n=180)
    discovery = pl.discover(model, data, settings=replace(QUICK, tested=90))
    (corner,) = (s for s in discovery.unexpected if s.class_name == "ill")
    assert (corner.kind, corner.name) == ("place", "upper right corner")
    np.testing.assert_array_equal(corner.present, has_marker)
    assert {s.class_name for s in discovery.suspects if s.expected} == {"ill"}
    assert set(discovery.counts["positives"]) == {"well", "ill", "other"}


def test_a_model_below_chance_is_asked_for_the_order_of_its_classes():
    model, data, _ = exclusive(("well", "ill"))
    swapped = replace(data, targets=1 - data.targets, origin="swapped")
    with pytest.raises(InputError, match=r"below chance \(AUROC 0\.0\d\): are its classes in another order"):
        pl.discover(model, swapped, settings=QUICK)


# --- the parts --------------------------------------------------------------------------------------------------------


def test_an_exchange_is_what_a_loop_gives():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 1, SIDE, SIDE)).astype(np.uint8)
    model = model_of(corner=3.0)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[CORNER] = True
    pairs = Pairs.of(np.arange(9), np.array([0, 3]), rng)
    assert set(pairs.recipients) <= {0, 3}
    assert (pairs.recipients != pairs.donors).all()
    odds = exchanged_log_odds(model, images, pairs, [Window.fixed(mask)], "multilabel", batch_size=4)
    for row, (donor, recipient) in enumerate(zip(pairs.donors, pairs.recipients, strict=True)):
        image = np.where(mask, images[donor], images[recipient]) / 255
        logits = model(torch.from_numpy(image).float()[None])
        np.testing.assert_allclose(odds[row, 0], logits[0].detach(), rtol=1e-5)
    centred = pairs.centred(odds)
    for recipient in (0, 3):
        np.testing.assert_allclose(centred[pairs.recipients == recipient].mean(0), 0, atol=1e-12)


def test_log_odds_of_one_class_against_all_others():
    logits = torch.tensor([[1.0, -0.5, 3.0], [40.0, 0.0, 0.0]], dtype=torch.float64)
    share = torch.softmax(logits, 1)
    torch.testing.assert_close(log_odds(logits, "multiclass")[0], torch.log(share[0] / (1 - share[0])))
    assert log_odds(logits, "multiclass").isfinite().all()


def test_z_is_the_difference_in_permutation_deviations():
    """Against the plain formula: the permutation variance of a mean difference is n/(n₁n₀) times the variance."""
    rng = np.random.default_rng(1)
    worth, labels = rng.normal(size=(30, 2)), (rng.random((30, 2)) < 0.3).astype(float)
    worth[3, 0] = np.nan
    difference, z = mean_differences(worth, labels)
    for t in range(2):
        usable = ~np.isnan(worth[:, t])
        own, label = worth[usable, t], labels[usable, t]
        expected = own[label == 1].mean() - own[label == 0].mean()
        assert difference[t] == pytest.approx(expected)
        n, positives = len(own), label.sum()
        assert z[t] == pytest.approx(expected / np.sqrt(own.var(ddof=1) * n / (positives * (n - positives))))


def test_z_under_many_orders_of_the_labels_is_that_of_each():
    rng = np.random.default_rng(6)
    worth = rng.normal(5, 1, (30, 6))
    worth[rng.random(worth.shape) < 0.2] = np.nan
    worth[:, 3], worth[:, 4] = 0.7, np.nan
    for unknown in (0, 4):
        labels = (rng.random(30) < 0.3).astype(float)
        labels[:unknown] = np.nan
        orders = labels[np.stack([rng.permutation(30) for _ in range(50)])]
        one_by_one = [mean_differences(worth, np.tile(own[:, None], 6))[1] for own in orders]
        np.testing.assert_allclose(permuted_z(worth, orders), one_by_one, atol=1e-9)


def test_p_values_agree_with_scipy_and_are_corrected_for_all():
    rng = np.random.default_rng(2)
    labels = np.tile((rng.random((40, 1)) < 0.4).astype(float), 3)
    worth = rng.normal(size=(40, 3))
    worth[:, 0] += 0.8 * labels[:, 0]
    result = associations(worth, labels[:, :1], np.zeros(3, int), np.arange(40), permutations=2000)
    for t in range(3):
        groups = worth[labels[:, t] == 1, t], worth[labels[:, t] == 0, t]
        p = stats.permutation_test(
            groups, lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True, n_resamples=2000,
            alternative="greater", rng=0,
        ).pvalue  # fmt: skip
        assert result.p[t] == pytest.approx(p, abs=0.04)
    assert (result.p_corrected >= result.p).all()
    largest = [mean_differences(worth, labels[rng.permutation(40)])[1].max() for _ in range(1000)]
    assert result.p_corrected[0] == pytest.approx(np.mean(largest >= result.z[0]), abs=0.04)


def test_under_no_association_one_in_twenty_searches_reports_anything():
    """Twelve correlated tests of patients with several images: 120 searches, of which 6 are to be expected."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 2)
    alarms = 0
    for seed in range(120):
        of_patients = rng.normal(size=(20, 12))[groups]
        worth = of_patients + 0.3 * rng.normal(size=(40, 12)) + rng.normal(size=(40, 1))
        labels = (rng.random(20) < 0.4).astype(float)[groups][:, None]
        result = associations(worth, labels, np.zeros(12, int), groups, permutations=100, seed=seed)
        alarms += bool(np.nanmin(result.p_corrected) <= 0.05)
    assert stats.binomtest(alarms, 120, 0.05).pvalue > 0.01


def test_patients_change_places_with_patients_of_as_many_images():
    groups = np.array([0, 1, 0, 2, 3, 1])
    for order in permuted(groups, 50, 0):
        assert sorted(order) == list(range(6))
        swapped = groups[order]
        assert swapped[0] == swapped[2]
        assert swapped[1] == swapped[5]
        assert {swapped[3], swapped[4]} == {2, 3}
    assert len({tuple(order) for order in permuted(groups, 50, 0)}) == 4


def test_the_cut_in_two_is_the_one_of_least_variance_within():
    values = np.random.default_rng(0).normal(size=30) + np.repeat([0, 4], 15)
    within = {cut: sum(part.var() * len(part) for part in (values[values < cut], values[values >= cut]))
              for cut in (np.sort(values)[1:] + np.sort(values)[:-1]) / 2}  # fmt: skip
    assert otsu(values) == pytest.approx(min(within, key=within.get))


def test_the_best_windows_do_not_overlap_by_half():
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2, :2], masks[1, :2, :3], masks[2, 2:, 2:] = True, True, True
    assert best_windows(np.array([3.0, 2.0, 1.0]), masks, 3) == [0, 2]
    assert best_windows(np.array([-1.0, np.nan, 0.0]), masks, 3) == []


def test_what_is_as_wide_as_a_cell_lies_whole_in_a_square():
    for frame, cells in (((24, 24), 12), ((64, 64), 12), ((70, 50), 9), ((224, 224), 12)):
        squares = Squares.over(frame, cells)
        masks = squares.masks
        assert masks.sum((1, 2)).tolist() == [squares.side**2] * len(masks)
        size = int(min(frame) / cells)
        integral = np.cumsum(np.cumsum(np.pad(masks, ((0, 0), (1, 0), (1, 0))), 1), 2)
        whole = integral[:, size:, size:] - integral[:, :-size, size:] - integral[:, size:, :-size]
        whole = whole + integral[:, :-size, :-size]
        assert (whole == size**2).any(0).all()


def test_the_strongest_square_is_one_that_no_mark_touches():
    rng = np.random.default_rng(0)
    squares = Squares.over((24, 24), 12)
    masks = np.zeros((2, 24, 24), bool)
    masks[0, :9, :9] = masks[1, 15:, 2:20] = True
    marks = MarkedPairs(np.array([0, 2]), np.array([1, 1]), masks, (24, 24))
    labels = np.array([[0, 1], [0, 0], [0, 1], [0, 0]], float)
    samples = Samples(
        np.zeros((4, 1, 24, 24), np.uint8), tuple("abcd"), labels, labels, np.arange(4), marks, CLASSES, "multilabel"
    )
    free = squares.free_of_marks(samples, 1)
    own = marks_left_out(samples, 1)
    assert own[:, 0].tolist() == [0, 1, 2, 3]
    assert set(own[[1, 3], 2]) <= {0, 2}
    for row in range(4):
        touched = [
            bool((square & masks[[of // 2 for of in own[row] if of % 2 == 0]]).any()) for square in squares.masks
        ]
        np.testing.assert_array_equal(free[row], np.logical_not(touched))
    worth = rng.normal(size=free.shape)
    free[1] = False
    best, number = strongest(worth, free)
    assert math.isnan(best[1])
    assert number[1] == -1
    for row in (0, 2, 3):
        assert best[row] == max(worth[row][free[row]]) == worth[row, number[row]]


def test_a_thin_thing_that_moves_by_a_few_pixels_covers_all_that_it_covers_anywhere():
    rng = np.random.default_rng(0)
    images = rng.normal(90, 6, (160, 1, SIDE, SIDE))
    present, label = rng.random(160) < 0.4, rng.integers(0, 2, 160)
    places = rng.integers(3, 7, 160)
    for row in np.flatnonzero(present):
        images[row, 0, 2:12, places[row]] = 160
    samples = SimpleNamespace(pixels=images.astype(np.uint8), labels=label[:, None].astype(float), frame=(SIDE, SIDE))
    near = np.zeros((SIDE, SIDE), bool)
    near[4:8, 4:8] = True
    region = where_it_differs(samples, present + 0.1 * rng.random(160), present, 0, near)
    planted = np.zeros((SIDE, SIDE), bool)
    planted[2:12, 3:7] = True
    assert (region & planted).sum() / (region | planted).sum() > 0.9


def test_each_class_leaves_out_its_own_marks_from_a_statistic():
    data, _ = dataset_of()
    samples = Samples.of(
        FittedImages(data, model_of().input_spec), np.stack([data.read(i)[None] for i in range(N)]),
        np.zeros((N, 2)), 0.0, {},
    )  # fmt: skip
    for column in (0, 1):
        partners_of = whole_images(samples, column)[0].exchanges[0].partners
        is_positive = data.targets[:, column] == 1
        np.testing.assert_array_equal(partners_of[:, 0], np.arange(N))
        assert (is_positive[partners_of[:, 2]] == ~is_positive).all()
        marks = samples.marks.of_images(partners_of[~is_positive, 2], column)
        assert marks.any((1, 2)).all()  # of an image without the class one is left out that has it


def test_statistics_of_whole_images_leave_out_what_is_marked():
    recipient, donor = torch.full((1, 1, 8, 8), 0.2), torch.full((1, 1, 8, 8), 0.3)
    free, given = torch.ones(1, 1, 8, 8, dtype=torch.bool), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    donor[..., :4], given[..., :4] = 0.9, False
    torch.testing.assert_close(
        STATISTICS["overall brightness"].change(recipient, donor, free, given), torch.full((1, 1, 8, 8), 0.3)
    )
    torch.manual_seed(0)
    noisy = donor + 0.05 * torch.randn(donor.shape)
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :, :2] = masks[1, :2] = True  # of the class, and of another
    marks = MarkedPairs(np.array([0, 0]), np.array([1, 0]), masks, (8, 8))
    exchange = WholeImage(STATISTICS["fine texture (noise, sharpness)"], marks, np.array([[0], [1]]), 1)
    for rows, onto in ((0, 1), (1, 0)):  # marked on the donor, marked on the recipient
        changed = exchange(recipient, noisy, np.array([rows]), np.array([onto]))
        assert (changed[..., :2] == 0.2).all()
        assert changed[..., 2:].std() > 0.02


def test_pixels_that_are_left_for_a_statistic_say_nothing_of_the_label():
    # a mark over the dark half raises the median of what is left: images without one leave out a marked one's
    masks = np.zeros((1, 8, 8), bool)
    masks[0, :, :4] = True
    marks = MarkedPairs(np.array([0]), np.array([1]), masks, (8, 8))
    images = torch.full((2, 1, 8, 8), 0.1)
    images[..., 4:] = 0.5
    recipients, rows, onto = torch.full((2, 1, 8, 8), 0.3), np.array([0, 1]), np.array([1, 1])
    level = STATISTICS["overall brightness"]
    own = WholeImage(level, marks, np.array([[0], [1]]), 0)(recipients, images, rows, onto)
    borrowed = WholeImage(level, marks, np.array([[0], [0]]), 0)(recipients, images, rows, onto)
    assert own[0].mean() != pytest.approx(float(own[1].mean()))
    torch.testing.assert_close(borrowed[0], borrowed[1])
