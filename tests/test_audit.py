"""`pl.audit` and `pellucid audit`: figures as scikit-learn has them, what is said of them, what a kill leaves."""

from __future__ import annotations

import csv
import errno
import json
import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score, roc_auc_score

import pellucid as pl
from helpers.charts import empty_charts
from helpers.discovery import make_suspect
from helpers.discovery import several as several_suspects
from helpers.models import small
from helpers.notebooks import charts_of
from pellucid.attacks import BoundedAttack
from pellucid.audit.classification import Answers, threshold_rows
from pellucid.audit.classification import draws_for as draws_of
from pellucid.audit.model_card import model_card
from pellucid.audit.parts import Parts
from pellucid.audit.settings import AuditSettings
from pellucid.audit.verdict import PLACE, _ranks, summarize_audit
from pellucid.data.cache.pixels import materialize
from pellucid.data.cache.small_images import SmallImagesWarning
from pellucid.data.checks.image_hashes import content_hashes
from pellucid.data.regions import Regions
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.models import wrap
from pellucid.models.inference import predict
from pellucid.models.training_record import ImageHashes, TrainingRecord
from pellucid.models.weights import save_model
from pellucid.report.pages.audit import threshold_table, write_audit
from pellucid.report.tables.results_index import ResultsIndex
from pellucid.types import InputError, InputSpec
from pellucid.utils.digests import damaged
from pellucid.utils.resources import whole_file

TINY = AuditSettings(
    few=6,
    corrupted=0,
    attacks=(BoundedAttack.parse("linf=1/255"),),
    steps=2,
    trust=TrustSettings(samples=1, curve_steps=4, attacked=1, attack_steps=1, budgets=(0.01,)),
    searched=0,
)


class Brightness(torch.nn.Module):
    """Says of an image how bright the left is, and the right; with one parameter, so that it has a place."""

    def __init__(self, scale=20.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, images):
        half = images.shape[3] // 2
        sides = torch.stack([images[..., :half].mean((1, 2, 3)), images[..., half:].mean((1, 2, 3))], 1)
        return sides * self.scale


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """Forty images, of which the left or the right is a little brighter: seen by `Brightness` for the most part."""
    from PIL import Image

    top, rng = tmp_path_factory.mktemp("sides"), np.random.default_rng(0)
    for number in range(40):
        side, pixels = number % 2, rng.normal(120, 10, (16, 16))
        pixels[:, side * 8 : side * 8 + 8] += rng.normal(6, 6)
        folder = top / "test" / ("left", "right")[side]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return pl.dataset("folder", top, "test")


@pytest.fixture
def without_charts():
    """For tests of what stands beside the charts of a page."""
    with empty_charts():
        yield


def seer():
    spec = InputSpec.square(1, 16)
    return wrap(Brightness(), mean=[0.0], std=[1.0], task="multiclass", classes=("left", "right"), input_spec=spec)


@pytest.fixture(scope="module")
def audited(sides):
    return pl.audit(seer(), sides, settings=replace(TINY, searched=39), use=pl.Use({"left": 0.1}, false_negative=5))


@pytest.fixture(scope="module")
def several():
    """The phantom, which has boxes and several labels, and a network of drawn weights."""
    data = pl.dataset("phantom", split="test", size=32, train=8, validation=8, test=12, prevalence=0.4)
    return small(size=32, classes=data.classes), data


@pytest.fixture(scope="module")
def whole(several):
    """An audit that nothing interrupts."""
    return pl.audit(*several, settings=TINY)


def test_its_figures_are_scikit_learns(audited, sides):
    logits = predict(seer(), materialize(sides, InputSpec.square(1, 16)))
    truth, said = sides.targets, logits.argmax(1)
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    figures = {(r.metric, r.class_name, r.at): r for r in audited.measured if r.section != "robustness"}

    def value(metric, name="mean", at=""):
        return figures[metric, name, at].value

    assert value("accuracy") == pytest.approx(accuracy_score(truth, said))
    assert 0.6 < value("accuracy") < 1
    assert value("balanced_accuracy") == pytest.approx(balanced_accuracy_score(truth, said))
    assert value("auroc", "left") == pytest.approx(roc_auc_score(truth == 0, probabilities[:, 0]))
    assert value("sensitivity", "left", "its own") == pytest.approx(recall_score(truth == 0, said == 0))
    assert value("specificity", "left", "its own") == pytest.approx(recall_score(truth == 0, said == 0, pos_label=0))
    threshold = figures["sensitivity", "left", "suggested"].threshold
    assert threshold == pytest.approx((0.2 * 9) / (1 + 0.2 * 9))
    cut = probabilities[:, 0] >= threshold
    assert value("specificity", "left", "suggested") == pytest.approx(recall_score(truth == 0, cut, pos_label=0))
    assert figures["sensitivity", "right", "suggested"].threshold == pytest.approx(1 - threshold)
    for at, said_left in (("its own", said == 0), ("suggested", cut)):  # what is not left is right
        assert value("sensitivity", "right", at) == value("specificity", "left", at)
        assert value("specificity", "right", at) == value("sensitivity", "left", at)
        cost = 0.1 * 5 * (~said_left)[truth == 0].mean() + 0.9 * said_left[truth == 1].mean()
        assert [value("cost", name, at) for name in ("left", "right", "mean")] == pytest.approx([cost] * 3)
    table = threshold_table(ResultsIndex(audited.results), audited.results["classification"]["use"])
    assert {line.label for line in table.lines} == {"left", "right"}  # their mean counts each image twice
    note = table.note
    assert "missing left costs 5, and saying it wrongly, which is to miss right, 1 (the rows of right are" in note
    assert "as given (left 0.1; what that leaves is shared as among these images)" in note
    assert audited.results["classification"]["confusion"] == confusion_matrix(truth, said).tolist()
    assert audited.results["classification"]["baseline"] == 0.5
    few = sides.limit(TINY.few, seed=TINY.seed).targets
    assert audited.results["classification"]["baseline_attacked"] == pytest.approx(np.bincount(few).max() / len(few))
    assert all(r.n for r in audited.measured)
    wrong = audited.results["classification"]["surest_and_wrong"]
    sure = probabilities.max(1)[truth != said]
    assert len(wrong) == min(6, len(sure))
    assert wrong[0]["image"] == sides.ids[int(np.flatnonzero(truth != said)[sure.argmax()])]


def of_three(count=90):
    """Answers of a model of three exclusive classes, and the data as a table of labels has them."""
    rng = np.random.default_rng(3)
    truth = np.arange(count) % 3
    logits = rng.normal(size=(count, 3)) + 1.5 * np.eye(3)[truth]
    return logits.astype(np.float32), truth


@pytest.mark.parametrize(
    ("use", "asked"),
    [
        (pl.Use(), []),
        (pl.Use({"b": 0.05}, false_negative=4), ["b"]),
        (pl.Use(false_negative=4), ["a", "b", "c"]),
    ],
    ids=["nothing asked", "one class", "costs"],
)
def test_of_three_exclusive_classes_the_most_probable_is_said(sides, use, asked):
    """A threshold of one class against all others is shown where it was asked for; then as scikit-learn counts it."""
    from pellucid.audit.classification import Answers, threshold_rows

    logits, truth = of_three()
    data = replace(
        sides, card=replace(sides.card, classes=("a", "b", "c")), targets=truth,
        files=(), ids=[f"{k}" for k in range(90)], patients=[f"{k}" for k in range(90)],
    )  # fmt: skip
    answers = Answers("m", logits, data, [])
    rows = threshold_rows(answers, use, draws_of(data))
    values = {(r.class_name, r.at, r.metric): r.value for r in rows}
    assert [name for name, at, kind in values if (at, kind) == ("suggested", "sensitivity")] == asked
    assert [name for name, at, kind in values if (at, kind) == ("its own", "cost")] == asked
    assert ("mean", "suggested", "sensitivity") not in values
    assert ("mean", "its own", "cost") not in values
    recalls = recall_score(truth, logits.argmax(1), average=None)
    assert [values[name, "its own", "sensitivity"] for name in "abc"] == pytest.approx(recalls)
    assert values["mean", "its own", "sensitivity"] == pytest.approx(recalls.mean())
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    for name in asked:
        number, there = "abc".index(name), use.prevalence.get(name, 1 / 3)
        odds = 0.25 * 0.5 / (there / (1 - there))
        said = probabilities[:, number] >= odds / (1 + odds)
        assert values[name, "suggested", "sensitivity"] == pytest.approx(recall_score(truth == number, said))
        cost = 4 * there * (~said)[truth == number].mean() + (1 - there) * said[truth != number].mean()
        assert values[name, "suggested", "cost"] == pytest.approx(cost)
    shown = {"data": {"task": "multiclass", "classes": list("abc")}, "rows": [r.to_json() for r in rows]}
    shown |= {"variants": [{"label": "m", "reference": True}]}
    table = threshold_table(
        ResultsIndex(shown), {"prevalence": dict(use.prevalence), "FN": 4.0, "FP": 1.0, "class": None}
    )
    assert table.note.startswith("The most probable class is said, and no threshold takes part. ")
    assert ("Threshold" in table.columns) == bool(asked)
    assert [line.label for line in table.lines if line.hint == "against all others"] == asked


@pytest.mark.parametrize(("suggested", "count"), [(0.5, 3), (0.2, 5)])
def test_rows_at_the_same_threshold_are_one_row_also_of_their_mean(suggested, count):
    rows = [
        {"section": "threshold", "variant": "m", "class": name, "metric": kind, "at": at, "value": 0.5, "low": 0.4,
         "high": 0.6, "n": 20, "threshold": None if name == "mean" else cut if name == "a" else 0.5}
        for at, cut in (("its own", 0.5), ("suggested", suggested))
        for name in ("a", "b", "mean")
        for kind in ("sensitivity", "specificity", "cost")
    ]  # fmt: skip
    shown = {"data": {"task": "multilabel", "classes": ["a", "b"]}, "rows": rows}
    shown |= {"variants": [{"label": "m", "reference": True}]}
    table = threshold_table(ResultsIndex(shown), {"prevalence": {}, "FN": 1.0, "FP": 1.0, "class": None})
    assert len(table.lines) == count  # two more, of the one label and of the mean, where the thresholds differ
    assert len({(line.label, line.hint) for line in table.lines}) == count


def test_it_says_what_holds_what_does_not_and_what_to_do(audited):
    kinds = {(s["part"], s["kind"]) for s in audited.statements}
    assert ("classification", "holds") in kinds
    assert ("data", "unclear") in kinds  # nobody knows what it was trained on, and the images are few
    assert audited.headline.startswith("This model tells the classes apart (mean AUROC 0.")
    assert all(s["advice"] for s in audited.statements if s["kind"] != "holds")
    told = " ".join(audited.results["unknown"])
    assert "The training images are not known" in told
    assert "as of one patient or scene" in told


def test_a_part_that_cannot_be_measured_says_why_and_the_others_go_on(audited):
    reasons = {p["name"]: p["reason"] for p in audited.results["parts"]}
    assert "no boxes or masks" in reasons.pop("localization")
    assert audited.results["elsewhere"] is None  # as was asked for
    assert reasons.pop("discovery").startswith("39 images are too few to find what a model goes by: 40 are needed")
    assert audited.results["discovery"] is None
    assert set(reasons) == {"classification", "attack", "ara", "trust", "pictures"}
    assert not any(reasons.values())
    assert "needs the feature map" in audited.results["refused_methods"]["grad-cam"]
    assert audited.results["methods"] == ["saliency"]
    assert any("no boxes or masks" in text for text in audited.warnings)


def test_images_that_are_smaller_than_the_crop_are_told_of_once_and_stand_in_the_report(sides, tmp_path):
    """Those of the eight images that are judged; from a cache as when they were decoded."""
    spec = {"task": "multiclass", "classes": list(sides.card.classes), "input_spec": InputSpec.parse("crop:18:17", 1)}
    model = wrap(Brightness(), mean=[0.0], std=[1.0], **spec).eval()
    sentence = "Of 8 images, 8 are smaller than the crop (17 × 17 pixels) and were enlarged for the network: the "
    sentence += "smallest has 16 × 16 pixels."
    for _ in range(2):
        with pytest.warns(SmallImagesWarning) as warned:
            result = pl.audit(
                model, sides, settings=replace(TINY, corrupted=6), methods="saliency", limit=8, cache=tmp_path
            )
        messages = [str(one.message) for one in warned if one.category is SmallImagesWarning]
        assert len(messages) == 1
        assert f"{sentence[0].lower()}{sentence[1:]}" in messages[0]
        (own,) = (text for text in result.results["limits"] if "smaller than the crop" in text)
        assert own.startswith(sentence)
        assert result.results["data"]["parts"]["test"]["small"] == {"images": 8, "smallest": [16, 16]}
        (limits,) = (one for one in result.results["card"] if one["title"] == "Limitations")
        assert sentence in limits["text"]


def test_where_it_is_not_known_whether_images_were_enlarged_the_report_says_so(sides, tmp_path):
    pl.audit(seer(), sides, settings=replace(TINY, few=2), methods="saliency", limit=4, cache=tmp_path)
    for path in tmp_path.glob("*.json"):  # as an earlier version wrote it
        values = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in values.items() if key != "small"}))
    again = pl.audit(seer(), sides, settings=replace(TINY, few=2), methods="saliency", limit=4, cache=tmp_path)
    assert again.results["data"]["parts"]["test"]["small"] is None
    assert sum("were enlarged for it: they were decoded before" in text for text in again.results["unknown"]) == 1
    assert not any("enlarged" in text for text in again.results["limits"])


@pytest.mark.usefixtures("without_charts")
def test_a_place_that_it_goes_by_stands_on_its_page(sides, tmp_path):
    """The right class is how bright the right half is, and where the class is nobody marked."""
    result = pl.audit(seer(), sides, settings=replace(TINY, searched=40), out=tmp_path)
    result.save(tmp_path)
    (suspect,) = json.loads((tmp_path / "discovery" / "suspects.json").read_text())["suspects"]
    assert (suspect["name"], suspect["class_name"]) == ("right side", "right")
    assert "right side" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("without_charts")
def test_what_it_goes_by_is_looked_for_and_kept(sides, tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.evaluation.discovery.run.by_features", lambda *_: ([], 0))  # no feature passes
    found = pl.audit(seer(), sides, settings=replace(TINY, searched=40), out=tmp_path)
    found.save(tmp_path)
    stored = json.loads((tmp_path / "audit.json").read_text())["discovery"]
    own = json.loads((tmp_path / "discovery" / "suspects.json").read_text())
    assert stored["images"] == 40
    assert stored["headline"] == own["headline"]
    assert own["suspects"] == []  # of twenty images on which it is tested; what that means stands on the page
    page = (tmp_path / "report.html").read_text()
    assert f"{own['counts']['candidates']:,} candidates were looked at on 40 images" in page
    assert "That nothing was found does not show that there is nothing" in page
    assert 'href="discovery/discover.html"' in page
    assert (tmp_path / "discovery" / "discover.html").is_file()
    monkeypatch.setattr(Brightness, "forward", lambda *_: pytest.fail("it was measured before"))
    measuring = "pellucid.verbs.auditing.measuring.Measuring"
    for name in ("corrupted", "attacked", "areas", "judged", "located"):
        monkeypatch.setattr(f"{measuring}.{name}", lambda *_: None)
    monkeypatch.setattr(f"{measuring}.methods", lambda *_: ([], {}))
    monkeypatch.setattr("pellucid.verbs.auditing.measuring.three_pictures", lambda *_: [])
    monkeypatch.setattr("pellucid.verbs.audit.measured_paces", lambda *_: None)
    monkeypatch.setattr("pellucid.verbs.audit.seconds_planned", lambda *_, **__: {})
    again = pl.audit(seer(), sides, settings=TINY, searched=40, out=tmp_path)
    assert again.results["discovery"] == found.results["discovery"]


@pytest.mark.usefixtures("without_charts")
def test_the_first_suspects_are_cards_that_lead_to_their_own_page(audited, tmp_path):
    discovery = several_suspects(5)
    write_audit(audited.results, [], [], tmp_path / "report.html", discovery)
    page = (tmp_path / "report.html").read_text()
    for one in discovery.unexpected:
        assert (f'href="discovery/discover.html#suspect{one.number}"' in page) == (one.number <= 3)
    assert '2 more in <a href="discovery/discover.html">' in page
    assert "goes through &lt;a marked&gt;" in page  # what people marked, for comparison; names are escaped
    assert "Nothing can be said of Mass (3 images of it, and 20 are needed)." in page


@pytest.mark.usefixtures("without_charts")
def test_what_people_marked_of_the_suspects_classes_comes_first_and_the_rest_is_counted(audited, tmp_path):
    marked = make_suspect(9, "marked", expected=True)
    others = [replace(marked, number=k, class_name="Mass", verdict=f"Mass, {k}.") for k in range(2, 6)]
    suspects = (make_suspect(1), *others, replace(marked, verdict="Pneumonia, marked."))
    discovery = replace(several_suspects(1), suspects=suspects)
    write_audit(audited.results, [], [], tmp_path / "report.html", discovery)
    page = (tmp_path / "report.html").read_text()
    assert "for comparison: Pneumonia, marked. Mass, 2. Mass, 3. 2 more are on <a" in page


def test_its_files_hold_what_it_measured(audited, tmp_path):
    paths = audited.save(tmp_path)
    assert [p.name for p in paths] == ["report.html", "audit.json", "card.md", "tables"]
    stored = json.loads((tmp_path / "audit.json").read_text())
    assert stored["verdict"]["headline"] == audited.headline
    assert "Nothing is said of groups of people or images" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert stored["about"]["fingerprint"] == stored["facts"]["Fingerprint of the images"]
    lines = list(csv.DictReader((tmp_path / "tables" / "figures.csv").open()))
    assert len(lines) == len(audited.measured)
    assert {p.stem for p in (tmp_path / "tables").glob("*.csv")} >= {"reliability", "trust", "verdict", "card"}
    page = (tmp_path / "report.html").read_text()
    assert page.count('<img src="data:image/') >= 5
    assert "http" not in page.replace("http://www.w3.org/1999/xlink", "").replace("http-equiv", "")
    card = (tmp_path / "card.md").read_text()
    assert "| 37 | Performance with its uncertainty | Accuracy 0." not in card  # AUROC comes first
    assert "Accuracy 0." in card
    assert "*empty:* Only the people who made or use the model can say it." in card


@pytest.mark.usefixtures("without_charts")
def test_a_page_without_pictures_names_the_images(sides, tmp_path):
    audit = pl.audit(seer(), sides, settings=TINY, methods="saliency", pictures=False)
    assert audit.pictures == []
    audit.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<img" not in page
    assert "data:image" not in page
    assert "Images are named on this page and not shown, as was asked for." in page
    assert not any("Pictures" in text for text in audit.warnings)
    assert audit.wrong[0].image in page
    write_audit(audit.results, [], audit.wrong, tmp_path / "report.html", several_suspects(5))
    page = (tmp_path / "report.html").read_text()
    assert "<img" not in page
    assert 'href="discovery/discover.html#suspect1"' in page


def test_the_card_has_every_field_filled_or_a_reason(audited):
    fields = audited.results["card"]
    claim = [f["item"] for f in fields if f["source"] == "CLAIM 2024"]
    assert claim == [str(n) for n in range(1, 45)]
    assert {f["item"].split()[0] for f in fields if f["source"] != "CLAIM 2024"} == set("123456789")
    assert all(bool(f["text"]) != bool(f["reason"]) for f in fields)


@pytest.mark.slow
def test_several_labels_with_boxes(whole, tmp_path):
    assert "how often the label is there" in charts_of(whole)[0]
    reasons = {p["name"]: p["reason"] for p in whole.results["parts"]}
    assert "no label has an Accuracy-Robustness Area" in reasons.pop("ara")  # six images are too few for one
    assert reasons.pop("discovery") == "not looked for: 12 images are too few, and 40 are needed at least"
    assert reasons == dict.fromkeys(("classification", "attack", "trust", "localization", "pictures"))
    curves = whole.results["trust"]["curves"]
    assert {len(of["deletion_score"]) for of in curves.values() if "deletion_score" in of} == {5}  # as was asked for
    methods = {r.method for r in whole.measured if r.section == "localization"}
    assert methods == {"grad-cam", "saliency", "trivial: uniform", "trivial: centred", "trivial: mean box"}
    assert {r.metric for r in whole.measured} >= {"balanced_accuracy", "brier", "calibration_error"}
    assert [s.title for s in whole.pictures][-1] == "What it would have to see"
    whole.save(tmp_path)


@pytest.mark.slow
def test_ten_thousand_classes_print_no_ten_thousand_rows(sides):
    """The figures of thousands of classes go to the CSV; page and JSON show those that are found least."""
    from dataclasses import replace

    from pellucid.audit.classification import Answers, classify, draws_for
    from pellucid.audit.results import classification_json, shown_rows

    count = 10_000
    classes = tuple(f"c{k}" for k in range(count))
    rng = np.random.default_rng(0)
    many = replace(sides, card=replace(sides.card, classes=classes), targets=rng.integers(0, count, len(sides)))
    answers = Answers("m", rng.normal(size=(len(sides), count)).astype(np.float32), many, [])
    draws = draws_for(many)
    result = classify(answers, pl.Use(), draws)
    assert len(shown_rows(result.rows, classes)) < 150 < count < len(result.rows)
    part = classification_json(answers, result, {}, [], many)
    assert part["confusion"] is None
    assert len(part["most_confused"]) == 10
    assert draws.resamples == 1000
    assert draws_for(replace(many, card=replace(many.card, classes=classes * 90))).resamples == 200


@pytest.mark.slow
def test_of_ten_thousand_classes_few_lines_are_printed(sides, pellucid, tmp_path):
    """By the commands that print figures or facts of a model."""
    count = 10_000
    classes = tuple(f"c{k}" for k in range(count))
    rows = np.arange(0, 40, 10)
    many = replace(sides.subset(rows), card=replace(sides.card, classes=classes), targets=rows * 200)
    model = small(size=32, classes=classes, task="multiclass")
    text = str(pl.evaluate(model, many))
    assert "4 images" in text
    assert len(text.splitlines()) < 20
    code, text, _ = pellucid("models", "show", save_model(model, tmp_path / "net"))
    assert code == 0
    assert f"{count:,}: c0, c1" in text
    assert len(text.splitlines()) < 60


def _killed_in(model, data, out):
    """Audit in a process that is killed as soon as what is found of the second explanation is kept."""
    from pellucid.utils import results_store

    write = results_store.ResultsStore.write

    def dying(self, name, arrays):
        write(self, name, arrays)
        if name == "saliency":
            os.kill(os.getpid(), signal.SIGKILL)

    results_store.ResultsStore.write = dying
    pl.audit(pl.load(model), data, settings=TINY, out=out)


@pytest.mark.slow
def test_it_goes_on_after_a_kill(several, whole, sides, tmp_path):
    model, data = several
    folder = save_model(model, tmp_path / "net")
    out = tmp_path / "audit"
    process = multiprocessing.get_context("fork").Process(target=_killed_in, args=(folder, data, out))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert left
    begun = []
    resumed = pl.audit(pl.load(folder), data, settings=TINY, out=out, name="model", announce=begun.append)
    assert {path: path.stat().st_mtime_ns for path in left} == left
    assert begun[0].startswith("1 of 7: Does it classify?")
    assert resumed.rows == whole.rows
    assert resumed.headline == whole.headline
    with pytest.raises(InputError, match="holds the results of another evaluation"):
        pl.audit(seer(), sides, settings=TINY, out=out)


@pytest.mark.slow
def test_against_another_model_of_the_same_images(sides):
    """A model that sees nothing, with its classes in another order, is right less often, and each test says so."""
    blind = wrap(
        Brightness(0.0), mean=[0.0], std=[1.0], task="multiclass", classes=("right", "left"),
        input_spec=InputSpec.square(1, 16),
    )  # fmt: skip
    from pellucid.audit.classification import Answers, draws_for
    from pellucid.audit.comparison import compare_answers

    result = pl.audit(blind, sides, settings=TINY, compare=seer(), methods=["saliency"], name="blind")
    rival = result.results["comparison"]
    rows = {(r["metric"], r["class"]): r for r in rival["rows"]}
    assert rival["tests"] == 3
    assert set(rows) == {("accuracy", "mean"), ("auroc", "mean"), ("auroc", "left"), ("auroc", "right")}
    logits = predict(seer(), materialize(sides, InputSpec.square(1, 16)))
    assert rows["accuracy", "mean"]["other"]["value"] == pytest.approx((logits.argmax(1) == sides.targets).mean())
    assert rows["accuracy", "mean"]["p"] <= rows["accuracy", "mean"]["p_corrected"] < 0.05
    assert [s["kind"] for s in result.statements if s["part"] == "comparison"] == ["fails"]
    same = Answers("m", logits, sides, [])
    alike = compare_answers(same, Answers("n", logits, sides, []), draws_for(sides))
    assert {r["p_corrected"] for r in alike["rows"] if r["test"]} == {1.0}
    assert all(r["difference"]["value"] == 0 for r in alike["rows"])


def test_against_a_copy_of_itself_it_is_said_that_both_answer_alike(sides, tmp_path):
    """As against its own export: what the verdict, the page, the card and the terminal say."""
    result = pl.audit(seer(), sides, settings=replace(TINY, attacks=()), compare=seer(), methods=["saliency"])
    sentence = "Both answer alike on all 40 images"
    (statement,) = [s for s in result.statements if s["part"] == "comparison"]
    assert statement["text"].startswith(sentence)
    assert "copy" in statement["advice"]
    assert sentence in str(result.tables()[0].rows)
    result.save(tmp_path)
    for name in ("report.html", "audit.json", "card.md"):
        assert sentence in (tmp_path / name).read_text(), name


def test_of_two_models_the_images_are_counted_on_which_they_differ(sides):
    """Beside a loop over the images: what is decided, and whether that is right; a missing answer differs from any."""
    from pellucid.audit.classification import Answers, draws_for
    from pellucid.audit.comparison import compare_answers

    rng, truth = np.random.default_rng(0), sides.targets.astype(int)
    three = replace(sides, card=replace(sides.card, classes=("left", "right", "both")))
    first, second = (rng.normal(size=(40, 3)).astype(np.float32) for _ in range(2))
    second[:20] = first[:20]
    counts = compare_answers(Answers("m", first, three, []), Answers("n", second, three, []), draws_for(three))
    said = [(int(a.argmax()), int(b.argmax())) for a, b in zip(first, second, strict=True)]
    assert counts["n"] == 40
    assert counts["differing"]["answers"] == sum(a != b for a, b in said)
    right = sum((a == t) != (b == t) for (a, b), t in zip(said, truth, strict=True))
    assert 0 < right == counts["differing"]["right"] < counts["differing"]["answers"]


def test_two_models_that_are_wrong_otherwise_are_not_said_to_answer_alike(audited):
    rival = {"label": "other", "n": 40, "differing": {"answers": 7, "right": 0}}
    (one,) = [s for s in summarize_audit(audited.results | {"comparison": rival}).statements if s.part == "comparison"]
    assert one.kind == "unclear"
    assert "answer otherwise on 7 of 40 images" in one.text


@pytest.mark.slow
def test_trust_by_earlier_rules_is_judged_again(sides, tmp_path, monkeypatch):
    options = {"settings": replace(TINY, attacks=()), "methods": ["saliency"], "out": tmp_path}
    pl.audit(seer(), sides, **options)
    for module in ("pellucid.evaluation.trust.run", "pellucid.verbs.auditing.measuring"):
        monkeypatch.setattr(f"{module}.RULES", -1)
    again = pl.audit(seer(), sides, **options)
    assert {p["name"]: p["reason"] for p in again.results["parts"]}["trust"] is None


def recorded(model, data, folder):
    """The model in a folder whose record says that it was trained on these images, which their pixels alone tell."""
    pixels = materialize(data, model.input_spec)
    part = {"images": len(data), "fingerprint": data.fingerprint}
    stage = {"dataset": data.card.name, "options": {}, "pixels": {"bits": 8}, "train": part, "validation": part}
    trained = ImageHashes(content_hashes(pixels), np.zeros((len(data), 16), dtype=np.uint8))
    return pl.load(save_model(model, folder, record=TrainingRecord((stage,), trained)))


@pytest.mark.slow
def test_what_the_other_was_trained_on_is_said_and_it_is_not_called_better(several, tmp_path):
    model, data = several
    other = recorded(model, data, tmp_path / "other")
    common = {"settings": replace(TINY, attacks=()), "methods": ["saliency"], "allow_training_images": True}
    result = pl.audit(model, data, compare=other, **common)
    rival = result.results["comparison"]
    assert rival["training_images"]["trained_on"] == rival["training_images"]["images"] == 12
    assert result.results["about"]["training_images"]["trained_on"] is None
    note = f"12 of the 12 images are images that {tmp_path / 'other'} was trained on"
    assert any(note in text for text in rival["notes"])
    assert any(note in text for text in result.warnings)
    results = json.loads(json.dumps(result.results))
    accuracy = next(r for r in results["comparison"]["rows"] if r["metric"] == "accuracy")
    accuracy |= {"value": 0.5, "p_corrected": 0.001, "difference": {"value": -0.3, "low": -0.4, "high": -0.2}}
    accuracy["other"]["value"] = 0.8
    results["comparison"]["differing"] = {"answers": 4, "right": 4}
    (statement,) = [s for s in summarize_audit(results).statements if s.part == "comparison"]
    assert statement.kind == "unclear"
    assert "But other was trained on 12 of these images, which flatters it." in statement.text
    results["comparison"]["training_images"]["trained_on"] = 0
    (statement,) = [s for s in summarize_audit(results).statements if s.part == "comparison"]
    assert statement.kind == "fails"


def test_a_model_of_other_classes_is_refused_before_anything_is_measured(sides, tmp_path):
    other = wrap(
        Brightness(), mean=[0.0], std=[1.0], task="multiclass", classes=("up", "down"),
        input_spec=InputSpec.square(1, 16),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"a model in memory tells up, down; the model left, right: .* be compared"):
        pl.audit(seer(), sides, settings=TINY, compare=other, out=tmp_path / "audit")
    assert not (tmp_path / "audit").exists()


def test_a_refused_audit_leaves_nothing_that_would_refuse_the_next(several, tmp_path):
    model, data = several
    seen = recorded(model, data, tmp_path / "seen")
    out = tmp_path / "audit"
    with pytest.raises(InputError, match="was trained on 12 of the 12 images"):
        pl.audit(seen, data, settings=TINY, out=out)
    assert not out.exists()


def test_the_verdict_is_on_the_smallest_change_and_calls_only_small_ones_unseen(audited):
    rows = [r for r in audited.results["rows"] if r["section"] != "robustness" or r["at"] == "0"]
    (attacked,) = [r for r in audited.results["rows"] if r["at"] == str(TINY.attacks[0]) and r["metric"] == "accuracy"]

    def said(*sizes):
        more = [attacked | {"at": str(BoundedAttack.parse(size)), "value": v, "low": v, "high": v} for size, v in sizes]
        base = {"classification": audited.results["classification"] | {"baseline_attacked": 0.5}}
        by_size = {str(BoundedAttack.parse(size)): taken(v - 0.7, v - 0.7) for size, v in sizes}
        results = audited.results | {"rows": rows + more, "attacks": by_size} | base
        return [s for s in summarize_audit(results).statements if s.part == "attack"]

    (one,) = said(("linf=8/255", 0.1), ("linf=1/255", 0.99))
    assert (one.kind, "1 of 255 grey levels" in one.text, "people do not see" in one.text) == ("holds", True, True)
    (one,) = said(("linf=32/255", 0.1), ("linf=16/255", 0.2))
    assert one.kind == "fails"
    assert one.short == "gives answers that are flipped by changes of at most 16 of 255 grey levels in each pixel"
    assert "people do not see" not in one.text
    two = said(("linf=2/255", 0.99), ("l2=0.5", 0.1))
    assert [(s.kind, "see" in s.text) for s in two] == [("holds", True), ("fails", False)]


def taken(low, high, lost=(-0.5, -0.1), p=0.5):
    """What an attack took, how far what is left lies above half of the lead, and how surely below 0, as in audit.json.

    Args:
        low: of the interval above half of the lead.
        high: of it.
        lost: the interval of what it took.
        p: of the contrast with a constant answer, which is below 0.
    """
    return {
        "difference": dict(zip(("low", "high"), lost, strict=True)), "half": {"low": low, "high": high},
        "lead": {"value": -0.2, "p": p},
    }  # fmt: skip


def with_figures(results, figures):
    """The same audit of a model with other figures: (section, metric, at) → value, low, high, of every class."""
    keys = ("value", "low", "high")
    rows = [
        r | dict(zip(keys, figures.get((r["section"], r["metric"], r["at"]), [r[k] for k in keys]), strict=True))
        for r in results["rows"]
    ]
    return results | {"rows": rows}


def with_accuracy(results, value, low, high):
    """The same audit of a model that is right so often."""
    every = {("robustness", r["metric"], r["at"]) for r in results["rows"]} | {("classification", "accuracy", "")}
    return with_figures(results, {key: (value, low, high) for key in every if key[1] == "accuracy"})


FAR = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 28, "best": "mean box"}  # above the best trivial map
FELL = {"difference": {"value": -0.3}, "p_corrected": 0.001}


@pytest.mark.parametrize(
    ("interval", "kind", "said"),
    [
        ((0.4, 0.6), "unclear", "is not shown to tell the classes apart (mean AUROC 0.50)"),
        ((0.4, 0.49), "fails", "ranks the classes the wrong way round (mean AUROC 0.50)"),
        ((0.52, 0.6), "holds", "tells the classes apart (mean AUROC 0.50)"),
    ],
)
def test_an_explanation_is_praised_only_of_a_model_that_tells_the_classes_apart(audited, interval, kind, said):
    """As of an untrained one that always says the same: maps above the trivial ones are no merit there."""
    trust = [
        {"method": "cam", "measure": name, "label": name, "bar": 0.5, "verdict": "yes", **FAR}
        for name in ("insertion_gain", PLACE)
    ]
    results = with_figures(
        with_accuracy(audited.results, 0.5, 0.4, 0.6), {("classification", "auroc", ""): (0.5, *interval)}
    )
    verdict = summarize_audit(results | {"trust": {"rows": trust}})
    first, *rest = verdict.statements
    assert (first.part, first.kind) == ("classification", kind)
    assert verdict.headline.startswith(f"This model {said}")
    praised = ["passes every test of trust" in verdict.headline, "where people marked" in verdict.headline]
    assert praised == [kind == "holds"] * 2
    of_maps = [s for s in rest if s.part in ("trust", "localization")]
    assert [s.kind for s in of_maps] == ["holds" if kind == "holds" else "unclear"] * 2
    assert all(("That is no reason to rely on it" in s.text) == (kind != "holds") for s in of_maps)
    assert all(bool(s.advice) == (kind != "holds") for s in of_maps)


@pytest.mark.parametrize(
    ("auroc", "accuracy", "expected"),
    [
        ((0.8, 0.67, 0.88), (0.74, 0.4, 0.82), ["holds tells the classes apart", "unclear is not shown to beat"]),
        ((0.8, 0.67, 0.88), (0.74, 0.6, 0.82), ["holds tells the classes apart", "holds beats a constant answer"]),
        ((0.8, 0.67, 0.88), (0.4, 0.3, 0.5), ["holds tells the classes apart", "fails does not beat a constant"]),
        ((0.5, 0.3, 0.6), (0.74, 0.6, 0.82), ["holds tells the classes apart (accuracy 0.74)"]),
        (
            (0.1, 0.0, 0.2),
            (0.74, 0.6, 0.82),
            ["holds tells the classes apart", "fails ranks the classes the wrong way"],
        ),
        ((0.0, 0.0, 0.175), (0.1, 0.0, 0.2), ["fails ranks the classes the wrong way", "fails does not beat a con"]),
        ((1.0, None, None), (0.9, 0.8, 0.95), ["holds tells the classes apart (accuracy 0.90)"]),
        ((1.0, None, None), (0.5, 0.4, 0.6), ["unclear is not shown to tell", "unclear is not shown to beat"]),
    ],
)
def test_ranking_and_a_constant_answer_are_two_questions(audited, auroc, accuracy, expected):
    """The constant answer is right on one half; a network whose outputs are swapped has an AUROC of 0."""
    figures = {("classification", "auroc", ""): auroc, ("classification", "accuracy", ""): accuracy}
    told = [s for s in summarize_audit(with_figures(audited.results, figures)).statements if s.part == "classification"]
    assert [f"{s.kind} {s.short}"[: len(e)] for s, e in zip(told, expected, strict=True)] == expected
    assert ["wrong order" in s.advice for s in told] == ["wrong way" in e for e in expected]


@pytest.mark.parametrize(
    ("error", "over", "kind", "short"),
    [
        ((0.204, 0.0, 0.296), (0.197, 0.111, 0.281), "fails", "is too sure of itself"),
        ((0.2, 0.04, 0.3), (-0.2, -0.28, -0.11), "fails", "is right more often than it says"),
        ((0.1, 0.0, 0.2), (0.08, 0.05, 0.11), "unclear", "is too sure of itself"),
        ((0.2, 0.1, 0.3), (0.0, -0.1, 0.1), "fails", "is poorly calibrated"),
    ],
)
def test_overconfidence_shows_that_it_is_not_calibrated(audited, error, over, kind, short):
    """|mean of confidence - right| is at most the mean of |confidence - share right|, whatever that is given."""
    figures = {("calibration", "calibration_error", ""): error, ("calibration", "overconfidence", ""): over}
    (one,) = [s for s in summarize_audit(with_figures(audited.results, figures)).statements if s.part == "calibration"]
    assert one.kind == kind
    assert one.short == ("" if kind == "unclear" else short)
    assert bool(one.advice)
    # what shows it comes first, where the interval of the calibration error holds the bar
    leads = kind == "fails" and error[1] <= 0.05
    assert one.text.startswith(
        f"It {short}, by 0.20 [0.11, 0.28] on average" if leads else "Its confidences are off by"
    )


def test_a_figure_has_as_many_decimals_as_its_interval(audited):
    figures = {
        ("calibration", "calibration_error", ""): (0.000176, 0.00017, 0.00018),
        ("calibration", "overconfidence", ""): (0.0, -0.001, 0.001),
    }
    (one,) = [s for s in summarize_audit(with_figures(audited.results, figures)).statements if s.part == "calibration"]
    assert "off by 0.00018 [0.00017, 0.00018]" in one.text


def test_an_end_that_reads_as_the_bar_has_another_decimal(audited):
    figures = {("calibration", "calibration_error", ""): (0.023, 0.0, 0.0548)}
    figures[("calibration", "overconfidence", "")] = (0.01, -0.01, 0.02)
    (one,) = [s for s in summarize_audit(with_figures(audited.results, figures)).statements if s.part == "calibration"]
    assert (one.kind, "off by 0.023 [0.000, 0.055]" in one.text) == ("unclear", True)


def test_the_best_constant_answer_stands_beside_the_thresholds(audited):
    """It costs the missed ones, or the false alarms; no threshold is said to cost least where it costs less."""
    use = audited.results["classification"]["use"]
    rows = {(r["class"], r["at"]): r["value"] for r in audited.results["rows"] if r["metric"] == "cost"}
    assert rows["left", "constant"] == pytest.approx(min(0.1 * 5, 0.9 * 1))
    assert rows["right", "constant"] == pytest.approx(rows["left", "constant"])
    table = threshold_table(ResultsIndex(audited.results), use)
    (line,) = [line for line in table.lines if (line.label, line.hint) == ("left", "the best constant answer")]
    assert line.cells[-1].value == "0.500"
    assert "would cost least of all thresholds" in table.note
    close = {"value": 0.4, "low": 0.3, "high": 0.5 - 1e-16}
    costly = [r | (close if r["metric"] == "cost" and r["at"] != "constant" else {})
              for r in audited.results["rows"]]  # fmt: skip
    wrong = {"statements": [{"part": "calibration", "kind": "fails"}]}
    note = threshold_table(ResultsIndex(audited.results | {"rows": costly, "verdict": wrong}), use).note
    assert "They are shown not to be, so that it need not cost less than any other." in note
    assert "At neither threshold is it shown to cost less than a constant answer for left and right." in note
    fields = {(f.source, f.item): f.text for f in model_card(audited.results)}
    assert "0.500 with the best constant answer." in fields["CLAIM 2024", "38"]


def test_of_many_classes_that_are_found_alike_the_card_counts_them(audited):
    (row,) = [
        r for r in audited.results["rows"] if (r["class"], r["at"], r["metric"]) == ("left", "its own", "sensitivity")
    ]
    rows = [
        row | {"class": f"c{k}", "value": 0.0 if k < 22 else 1.0, "low": None, "high": None, "n": 1} for k in range(40)
    ]
    fields = {
        (f.source, f.item): f.text for f in model_card(audited.results | {"rows": audited.results["rows"] + rows})
    }
    assert "lowest sensitivity: 22 classes 0.000 (1 image each)." in fields["CLAIM 2024", "38"]


@pytest.mark.parametrize(("low", "expected"), [(2, "c0 0.000 [0.000, 0.100] and c1"), (3, "and c2 0.000")])
def test_none_of_the_classes_that_are_found_as_rarely_is_left_out(audited, low, expected):
    (row,) = [
        r for r in audited.results["rows"] if (r["class"], r["at"], r["metric"]) == ("left", "its own", "sensitivity")
    ]
    others = [r for r in audited.results["rows"] if r["section"] != "threshold"]
    rows = [row | {"class": f"c{k}", "value": float(k >= low), "low": 0.0, "high": 0.1} for k in range(4)]
    fields = {(f.source, f.item): f.text for f in model_card(audited.results | {"rows": others + rows})}
    assert expected in fields["CLAIM 2024", "38"]
    assert f"c{low} " not in fields["CLAIM 2024", "38"]


def test_of_classes_with_few_images_it_is_not_said_that_it_finds_them(audited):
    """The class of three images may be missed altogether: what is said of every class is not said of it."""

    def told(n):
        rows = [
            r | ({"value": 0.9, "low": 0.8, "high": 1.0, "n": n if r["class"] == "right" else 20}
                 if r["metric"] == "sensitivity" else {})
            for r in audited.results["rows"]
        ]  # fmt: skip
        (one,) = [s for s in summarize_audit(audited.results | {"rows": rows}).statements if s.part == "classes"]
        return one

    assert told(20).short == "finds more than half of every class"
    few = told(3)
    assert few.short == "finds more than half of every class that can be judged (1 of 2)"
    assert few.text.startswith("Of those with 6 images or more, the class that it misses most is left")
    assert few.text.endswith("Of the other 1 nothing can be said.")


def test_whose_prevalence_a_constant_answers_cost_follows_from_is_said_of_each_class(several):
    _, data = several
    logits = np.random.default_rng(0).normal(size=data.targets.shape)
    answers = Answers("m", logits, data, [0.5] * len(data.classes))
    use = pl.Use({"Mass": 0.05}, false_negative=10)
    rows = {r.class_name: r.reason for r in threshold_rows(answers, use, draws_of(data)) if r.at == "constant"}
    here = {name: "with the prevalence of these images" in why for name, why in rows.items()}
    assert here == {name: name != "Mass" for name in here}
    assert rows["mean"].endswith("with the prevalence of these images where none is stated")


def test_classes_that_no_image_of_those_judged_shows_are_told_of(sides):
    """Of the images that are judged: that the others of their part show the class says nothing of these figures."""
    seed = next(n for n in range(50) if len(set(sides.limit(3, seed=n).targets.tolist())) == 1)
    told = pl.audit(seer(), sides, settings=replace(TINY, few=3), methods="saliency", limit=3, seed=seed)
    assert any(text.startswith("Of 1 of the 2 classes there is no image") for text in told.results["limits"])


def test_the_card_keeps_what_is_shown_within_what_cannot_be_said(audited):
    statements = [
        {
            "kind": "unclear",
            "part": "elsewhere",
            "short": "",
            "text": "It is worse under noise.",
            "advice": "Corrupt more.",
        },
        {"kind": "fails", "part": "attack", "short": "", "text": "It is turned.", "advice": "Train it."},
    ]
    results = audited.results | {"verdict": {"headline": "", "statements": statements}}
    fields = {(f.source, f.item): f for f in model_card(results)}
    robust = fields["CLAIM 2024", "30"].text
    assert "worse under noise" in robust
    assert "turned" in robust
    assert "worse under noise" not in fields["EU AI Act, Annex IV", "2 (h)"].text
    assert "What cannot be said: It is worse under noise." in fields["EU AI Act, Annex IV", "3"].text
    assert fields["CLAIM 2024", "41"].text == "Corruptions: Corrupt more. Attacks: Train it."
    assert not fields["EU AI Act, Annex IV", "1 (e)"].text  # where it was measured is not where it is meant to run
    assert fields["CLAIM 2024", "7"].text != fields["CLAIM 2024", "19"].text


def test_the_area_stands_with_its_warnings_wherever_it_is_quoted(audited):
    alarm = "weak attack: plain PGD does better. Look again with more effort: `--effort 2` instead of 1."
    rows = [r | ({"reason": "5 of 8 labels undefined and left out"} if r["section"] == "ara" else {})
            for r in audited.results["rows"]]  # fmt: skip
    results = audited.results | {"ara": audited.results["ara"] | {"alarms": [alarm]}, "rows": rows}
    results |= {"verdict": summarize_audit(results).to_json()}
    (one, *_) = [s for s in results["verdict"]["statements"] if s["part"] == "attack"]
    fields = {(f.source, f.item): f.text for f in model_card(results)}
    for text in (one["text"], fields["CLAIM 2024", "30"], fields["EU AI Act, Annex IV", "2 (h)"]):
        assert "(root mean square per pixel: 5 of 8 labels undefined and left out)" in text
        assert "Weak attack: plain PGD does better. Look again with more effort: `--effort 2`" in text


def test_a_size_that_leaves_less_than_chance_is_said_whatever_the_smallest_leaves(audited):
    (attacked,) = [r for r in audited.results["rows"] if r["at"] == str(TINY.attacks[0]) and r["metric"] == "accuracy"]
    rows = [r for r in audited.results["rows"] if r["section"] != "robustness" or r["at"] == "0"]
    for size, value, low, high in (
        ("linf=1/255", 0.7, 0.5, 0.8),
        ("linf=4/255", 0.4, 0.3, 0.49),
        ("linf=8/255", 0, 0, 0.1),
    ):
        rows.append(attacked | {"at": str(BoundedAttack.parse(size)), "value": value, "low": low, "high": high})
    names = [row["at"] for row in rows[-3:]]

    def told(*p):
        attacks = {at: taken(-0.1, 0.1, p=one) for at, one in zip(names, p, strict=True)}
        results = audited.results | {"rows": rows, "attacks": attacks}
        results["classification"] = results["classification"] | {"baseline_attacked": 0.5}
        return summarize_audit(results)

    verdict = told(0.5, 0.02, 0.0001)
    one, below = [s for s in verdict.statements if s.part == "attack"]
    assert (one.kind, below.kind) == ("unclear", "fails")
    assert below.text.startswith(
        "Under 4 of 255 grey levels in each pixel its accuracy is 0.40 [0.30, 0.49], worse than"
    )
    assert "which has 0.50 on the same images (paired, p = 0.020)." in below.text
    assert "is worse than a constant answer under changes of at most 4 of 255 grey levels in each pixel" in (
        verdict.headline
    )
    # the sizes are tested from the largest down, up to the first that shows nothing
    assert [s.kind for s in told(0.5, 0.02, 0.3).statements if s.part == "attack"] == ["unclear"]
    (one,) = [s for s in told(0.03, 0.02, 0.01).statements if s.part == "attack"]
    assert (one.kind, one.short) == ("fails", "is worse than a constant answer under changes too small to see")


def test_maps_that_are_shown_to_be_worse_are_called_worse(audited):
    row = {
        "measure": PLACE,
        "label": PLACE,
        "bar": 0.0,
        "verdict": "no",
        **FAR,
        "value": -0.2,
        "low": -0.3,
        "high": -0.1,
    }
    rows = [row | {"method": "cam"}, row | {"method": "saliency"}]
    (one,) = [s for s in summarize_audit(audited.results | {"trust": {"rows": rows}}).statements
              if s.part == "localization"]  # fmt: skip
    assert "find the marked regions worse than the best trivial map does" in one.text
    assert "a map of CAM or Saliency" in one.advice


@pytest.mark.parametrize(
    ("clean", "attacked", "p", "kind", "said"),
    [
        ((0.8, 0.56, 0.94), (0.25, 0.09, 0.49), 0.01, "fails", "is worse than a constant answer under"),
        ((0.8, 0.56, 0.94), (0.25, 0.09, 0.69), 0.06, "unclear", ""),  # though the interval lies below 0.7
        ((0.3, 0.1, 0.5), (0.25, 0.09, 0.49), 0.01, "unclear", ""),  # there was nothing to take
        ((0.9, 0.72, 0.98), (0.6, 0.5, 0.75), 0.3, "fails", "gives answers that are flipped by"),
    ],
)
def test_the_attack_is_judged_by_the_constant_answer_of_the_images_attacked(audited, clean, attacked, p, kind, said):
    """It is right on 0.7 of them, and on half of all."""
    at = str(TINY.attacks[0])
    figures = {("robustness", "accuracy", "0"): clean, ("robustness", "accuracy", at): attacked}
    results = with_figures(audited.results, figures)
    results["classification"] = results["classification"] | {"baseline_attacked": 0.7}
    results["attacks"] = {at: taken(-0.4, -0.02, p=p)}
    (one,) = [s for s in summarize_audit(results).statements if s.part == "attack"]
    assert one.kind == kind
    assert one.short.startswith(said)
    assert bool(one.short) == (kind == "fails")


@pytest.mark.parametrize(
    ("half", "lost", "kind"),
    [
        ((-0.4, -0.1), (-0.5, -0.1), "fails"),
        ((-0.4, 0.1), (-0.5, -0.1), "unclear"),  # though the attacked interval lies below the middle
        ((-0.4, -0.1), (-0.5, 0.1), "unclear"),  # half cannot be lost where nothing is
        ((None, None), (None, None), "unclear"),
        ((0.0, 0.1), (-0.5, -0.1), "holds"),
    ],
)
def test_half_of_the_lead_is_a_question_to_both_figures(audited, half, lost, kind):
    at = str(TINY.attacks[0])
    figures = {("robustness", "accuracy", "0"): (0.95, 0.75, 1), ("robustness", "accuracy", at): (0.5, 0.3, 0.6)}
    results = with_figures(audited.results, figures) | {"attacks": {at: taken(*half, lost)}}
    results["classification"] = results["classification"] | {
        "baseline_attacked": 0.4,
        "fewest_attacked": {"class": "left", "images": 1},
    }
    (one,) = [s for s in summarize_audit(results).statements if s.part == "attack"]
    assert one.kind == kind
    assert ("Whether half of its lead over a constant answer is left" in one.text) == (kind == "unclear")
    assert ("cannot be said: with 1 image of left there is no interval of the difference." in one.text) == (
        half[0] is None
    )


def test_what_an_attack_takes_is_kept_beside_what_it_cost(audited):
    (attacked,) = [r for r in audited.results["rows"] if r["at"] == str(TINY.attacks[0]) and r["metric"] == "accuracy"]
    (clean,) = [r for r in audited.results["rows"] if r["at"] == "0" and r["metric"] == "accuracy"]
    one, base = audited.results["attacks"][str(TINY.attacks[0])], audited.results["classification"]["baseline_attacked"]
    assert one["difference"]["value"] == pytest.approx(attacked["value"] - clean["value"])
    assert one["half"]["value"] == pytest.approx(attacked["value"] - (clean["value"] + base) / 2)


@pytest.mark.parametrize(
    ("clean", "p", "kind"),
    [
        ((0.8, 0.65, 0.94), 0.01, "fails"),
        ((0.8, 0.65, 0.94), 0.2, "unclear"),  # though the whole interval lies below
        ((0.5, 0.3, 0.69), 0.01, "unclear"),  # it was worse before
        ((0.8, None, None), 0.01, "fails"),
    ],
)
def test_a_corruption_that_puts_it_below_a_constant_answer_fails_whatever_it_had(audited, clean, p, kind):
    def lead(is_below):
        return {"lead": {"value": -0.4, "p": 0.01, "p_corrected": p if is_below else 0.9}}

    rows = [
        {"corruption": "blur", "severity": s, "value": 0.3, "low": 0.1, "high": 0.4, **lead(s >= 2), **FELL}
        for s in range(1, 6)
    ]
    rows += [{"corruption": "noise", "severity": s, "value": 0.3, "low": 0.1, "high": 0.9, **lead(s > 3)}
             | FELL | ({} if s > 2 else {"p_corrected": 0.3}) for s in range(1, 6)]  # fmt: skip
    figures = {
        "metric": "accuracy", "clean": dict(zip(("value", "low", "high"), clean, strict=True)), "base": 0.7,
        "images": 30, "bar": 0.75, "lost": {"blur": None, "noise": None}, "rows": rows,
    }  # fmt: skip
    told = summarize_audit(audited.results | {"elsewhere": figures}).statements
    (one,) = [s for s in told if s.part == "elsewhere"]
    assert one.kind == kind
    if kind == "fails":
        assert one.short == "is worse than a constant answer under blur"
        assert "blur from severity 2 on (accuracy 0.30 [0.10, 0.40] at 2)" in one.text
        assert "(0.70 on these 30 images)" in one.text
    assert "noise from severity 3 on (accuracy 0.30 [0.10, 0.90] at 3)" in one.text  # as its corrected p says
    assert one.advice


def test_where_a_change_moves_no_second_decimal_it_is_not_said_to_bring_it_from_one_to_the_same(audited):
    results = with_accuracy(audited.results, 0.601, 0.55, 0.65)
    (one,) = [s for s in summarize_audit(results).statements if s.part == "attack"]
    assert "leaves its accuracy at 0.60 [0.55, 0.65]." in one.text
    rows = [r | {"value": 0.5, "low": 0.4} if r["metric"] == "accuracy" and r.get("at") not in ("", "0") else r
            for r in results["rows"]]  # fmt: skip
    (one,) = [s for s in summarize_audit(results | {"rows": rows}).statements if s.part == "attack"]
    assert "brings its accuracy from 0.60 to 0.50 [0.40, 0.65]." in one.text


def test_of_two_exclusive_classes_no_threshold_is_to_be_moved_and_one_fact_is_told_once(audited):
    """The more probable class is said, and what is missed of one is said of the other; labels have thresholds."""

    def told(of_left, of_right, **data):
        figures = {"left": of_left, "right": of_right}
        rows = [
            r | dict(zip(("value", "low", "high"), figures[r["class"]][r["metric"] == "specificity"], strict=True))
            if r["section"] == "threshold" and r["at"] == "its own" and r["class"] in figures and r["metric"] != "cost"
            else r
            for r in audited.results["rows"]
        ]
        results = audited.results | {"rows": rows, "data": audited.results["data"] | data}
        return [s for s in summarize_audit(results).statements if s.part == "classes"]

    bad, good = (0.29, 0.15, 0.46), (0.98, 0.92, 1.0)
    one, other = told((bad, good), (good, bad))
    assert one.short == "takes most images of left for right"
    assert "threshold" not in one.advice
    assert (other.kind, other.short) == ("holds", "finds most images of right")
    assert other.text == "It finds at least half of the images of right (0.98 [0.92, 1.00])."
    (one,) = told((bad, bad), (bad, bad))
    assert one.short == "takes most images of left for right and right for left"
    assert one.advice.startswith("Look at the class names")
    two = [s for s in told((bad, good), (good, bad), task="multilabel") if s.kind == "fails"]
    assert [s.short for s in two] == ["misses most images of left", "reports right on most images without it"]
    assert ["hreshold" in s.advice for s in two] == [True, True]


def test_what_only_refutes_speaks_for_no_explanation(audited):
    """Being above the best trivial map does, and then what could have refuted it must not have."""

    def said(**verdicts):
        rows = [
            {"method": "cam", "measure": name, "label": name, "bar": 0.5, "verdict": verdict, **FAR}
            for name, verdict in verdicts.items()
        ]
        return [s for s in summarize_audit(audited.results | {"trust": {"rows": rows}}).statements if s.part == "trust"]

    (one,) = said(dependence_rank="not refuted", attacked_rank="not refuted")
    assert (one.kind, one.short) == ("unclear", "")
    (one,) = said(dependence_rank="not refuted", insertion_gain="yes")
    assert (one.kind, "best trivial map in 1, not refuted in 1" in one.text) == ("holds", True)
    assert one.short.endswith("passes every test of trust that was made, none of which asks where a finding is (CAM)")
    (one,) = said(insertion_gain="yes", place_gain="no")
    assert one.short == "has an explanation that passes every test of trust but that of place (CAM)"
    (one,) = said(insertion_gain="yes", place_gain="yes")
    assert one.short == "has an explanation that passes every test of trust (CAM)"
    (one,) = said(dependence_rank="not refuted", insertion_gain="unclear")
    assert one.kind == "unclear"
    assert "in none, not refuted in 1 that can only refute, and the others leave it open" in one.text
    (one,) = said(dependence_rank="no", insertion_gain="yes")
    assert (one.kind, one.short) == ("fails", "has no explanation that passes every test of trust")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("yes", "yes"), [("holds", "looks where people marked the finding")]),
        (
            ("yes", "no"),
            [
                ("holds", "looks where people marked the finding (by CAM)"),
                ("fails", "does not look where people marked the finding (by Saliency)"),
            ],
        ),
        (("no", "unclear"), [("fails", "does not look where people marked the finding (by CAM)"), ("unclear", "")]),
        (("no", "no"), [("fails", "does not look where people marked the finding")]),
        (("unclear", "unclear"), [("unclear", "")]),
    ],
)
def test_of_every_method_it_is_said_whether_its_maps_find_the_marks(audited, verdicts, expected):
    """What fails stands under what does not hold, and in the first sentence, whatever the other method does."""
    names = ("cam", "saliency")
    rows = [
        {"method": method, "measure": name, "label": name, "bar": 0.0, "verdict": verdict, **FAR}
        for method, placed in zip(names, verdicts, strict=True)
        for name, verdict in (("dependence_rank", "not refuted"), (PLACE, placed))
    ]
    verdict = summarize_audit(audited.results | {"trust": {"rows": rows}})
    statements = [s for s in verdict.statements if s.part == "localization"]
    assert [(s.kind, s.short) for s in statements] == expected
    assert all(short in verdict.headline for _, short in expected)
    kinds = {"holds": "yes", "fails": "no", "unclear": "unclear"}
    for one in statements:
        assert one.text.count("less mean box 0.20 [0.10, 0.30], 28 findings") == verdicts.count(kinds[one.kind])
        told = [label in one.text for label in ("CAM", "Saliency")]
        assert told == [placed == kinds[one.kind] for placed in verdicts]
        assert ("no better than" in one.text) == (one.kind == "fails")
    (apart,) = [s.text for s in verdict.statements if s.part == "trust"]
    assert "CAM failed none of 1 tests that do not ask where a finding is" in apart


def test_a_bound_on_which_a_verdict_hangs_does_not_read_as_zero(audited):
    close = FAR | {"value": -0.13, "low": -0.24, "high": -0.003}
    row = {"method": "saliency", "measure": PLACE, "label": PLACE, "bar": 0.0, "verdict": "no", **close}
    verdict = summarize_audit(audited.results | {"trust": {"rows": [row]}})
    (one,) = [s for s in verdict.statements if s.part == "localization"]
    assert "Saliency less mean box −0.130 [−0.240, −0.003]" in one.text


@pytest.mark.parametrize(
    "error",
    [
        damaged("kept/a.npz", "cut off"),
        NotImplementedError(),
        RecursionError("too deep"),
        "the disk is full",
        KeyError("x"),
    ],
    ids=repr,
)
def test_what_is_no_property_of_the_model_ends_the_audit(error, tmp_path):
    def measure():
        if error != "the disk is full":
            raise error
        with whole_file(tmp_path / "kept.npz") as path:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    parts = Parts(lambda _: None, {"attack": 1.0})
    with pytest.raises((InputError, RuntimeError, KeyError)):
        parts.attempt("attack", "One", measure)
    assert parts.records == []


@pytest.mark.parametrize(
    "error",
    [
        InputError("it has no boxes"),
        RuntimeError("no gradient"),
        MemoryError(),
        NotImplementedError("Could not run 'aten::x'"),
    ],
    ids=repr,
)
def test_what_a_model_cannot_do_is_said_of_the_part(error):
    def measure():
        raise error

    parts = Parts(lambda _: None, {"attack": 1.0})
    assert parts.attempt("attack", "One", measure) is None
    assert parts.records[0]["reason"] == (str(error) or "MemoryError")


def test_bad_input_is_refused_before_any_work(sides):
    begun = []
    quiet = {"settings": TINY, "announce": begun.append}
    with pytest.raises(InputError, match="Did you mean 'left'"):
        pl.audit(seer(), sides, use=pl.Use({"lef": 0.1}), **quiet)
    with pytest.raises(InputError, match=r"must sum to 1; found left 0\.9, right 0\.9: 1\.8"):
        pl.audit(seer(), sides, use=pl.Use({"left": 0.9, "right": 0.9}), **quiet)
    with pytest.raises(InputError, match="corrupted is a number of images; found -1"):
        pl.audit(seer(), sides, corrupted=-1, **quiet)
    with pytest.raises(InputError, match="searched is a number of images; found -1"):
        pl.audit(seer(), sides, searched=-1, **quiet)
    with pytest.raises(InputError, match="unknown heat map 'salience'"):
        pl.audit(seer(), sides, methods=["salience"], **quiet)
    with pytest.raises(InputError, match="no class in common"):
        pl.audit(small(task="multiclass"), sides, **quiet)
    assert not begun


class WithoutGradient(Brightness):
    def forward(self, images):
        with torch.no_grad():
            return super().forward(images)


def test_a_model_without_gradients_is_audited_as_far_as_that_goes(sides):
    spec = InputSpec.square(1, 16)
    shut = wrap(WithoutGradient(), mean=[0.0], std=[1.0], task="multiclass", classes=("left", "right"), input_spec=spec)
    result = pl.audit(shut, sides, settings=TINY)
    assert result.results["classification"]["baseline"] == 0.5
    reasons = {p["name"]: p["reason"] for p in result.results["parts"]}
    assert reasons["classification"] is None
    assert reasons["attack"]


class Coded(torch.nn.Module):
    """Answers with the class that an image's grey level stands for."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(5.0))

    def forward(self, images):
        return -self.scale * (images.mean((1, 2, 3))[:, None] * 255 / 8 - torch.arange(30)).abs()


def test_the_verdict_looks_at_every_class_of_many(tmp_path):
    """Thirty classes: of ten both images are missed, which says nothing; of twenty nine of ten, which does."""
    from PIL import Image

    names = [f"c{k:02}" for k in range(30)]
    for k, name in enumerate(names):
        (tmp_path / "test" / name).mkdir(parents=True)
        for number in range(2 if k < 10 else 10):
            answer = k if k >= 10 and number == 0 else (k + 1) % 30
            Image.new("L", (8, 8), answer * 8).save(tmp_path / "test" / name / f"{number}.png")
    spec = InputSpec.square(1, 8)
    model = wrap(Coded(), mean=[0.0], std=[1.0], task="multiclass", classes=names, input_spec=spec)
    result = pl.audit(
        model, pl.dataset("folder", tmp_path, "test"), settings=replace(TINY, few=2, attacks=()), methods=["saliency"]
    )
    assert {r["class"] for r in result.results["rows"] if r["metric"] == "sensitivity"} < {*names, "mean"}
    (missed,) = [s for s in result.results["verdict"]["statements"] if "fewer than half" in s["text"]]
    assert missed["kind"] == "fails"
    assert "c10 (0.10" in missed["text"]


@pytest.mark.slow
def test_maps_are_compared_on_the_same_findings_of_classes_that_have_an_interval():
    data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.35)
    keep = tuple(r for r in data.regions.items if r.label not in data.classes[:2] or r.image % 8 == 0)
    data = replace(data, regions=Regions(keep))
    patients = {c: {data.patients[i] for i, label in data.regions.pairs() if label == c} for c in data.classes}
    few = {c: len(of) for c, of in patients.items() if 0 < len(of) < 5}
    assert few
    settings = replace(TINY, few=24, attacks=())
    result = pl.audit(small(size=32, classes=data.classes), data, settings=settings, methods=["saliency"])
    (target,) = result.results["targets"]
    assert target["left_out"] == few
    rows = [r for r in result.measured if r.section == "localization" and r.metric == "auprc"]
    assert {r.class_name for r in rows} == {"mean", *(c for c, of in patients.items() if len(of) >= 5)}
    means = {r.method: r for r in rows if r.class_name == "mean"}
    assert len(means) == 4
    assert {r.n for r in means.values()} == {target["pairs"]}
    assert all(r.low < r.value < r.high and r.reason is None for r in means.values())


@pytest.mark.slow
def test_marks_under_other_names_count_in_every_part(several):
    model, data = several
    renamed = {c: f"{c} lesion" for c in data.regions.labels}
    items = tuple(replace(r, label=renamed[r.label]) for r in data.regions.items)
    other = replace(data, regions=Regions(items))
    settings = replace(TINY, few=4, attacks=())
    result = pl.audit(
        model, other, settings=settings, methods=["saliency"], regions={c: [renamed[c]] for c in data.regions.labels}
    )
    same = pl.audit(model, data, settings=settings, methods=["saliency"])

    def figures(one):
        return [(r.class_name, r.metric, r.value) for r in one.measured if r.section == "localization"]

    assert figures(result) == figures(same)
    places = [[r["value"] for r in one.results["trust"]["rows"] if r["measure"] == PLACE] for one in (result, same)]
    assert places[0] == places[1]
    assert places[0]
    with pytest.raises(InputError, match=r"no region is labelled 'Mas'\. Did you mean 'Mass lesion'"):
        pl.audit(model, other, settings=settings, regions={"Mass": ["Mas"]})


@pytest.mark.slow
def test_other_regions_in_the_same_folder_are_measured_anew_and_the_rest_is_kept(several, tmp_path):
    model, data = several
    settings = replace(TINY, few=6, attacks=())
    swapped = {"Mass": ["Nodule"], "Nodule": ["Mass"]}
    pl.audit(model, data, settings=settings, methods=["saliency"], out=tmp_path)
    logits = sorted((tmp_path / "kept").glob("logits-*.npz"))
    again = pl.audit(model, data, settings=settings, methods=["saliency"], regions=swapped, out=tmp_path)
    fresh = pl.audit(model, data, settings=settings, methods=["saliency"], regions=swapped)

    def figures(one):
        places = [(r["measure"], r["value"]) for r in one.results["trust"]["rows"]]
        return places, [(r.class_name, r.metric, r.value) for r in one.measured if r.section == "localization"]

    assert repr(figures(again)) == repr(figures(fresh))
    assert sorted((tmp_path / "kept").glob("logits-*.npz")) == logits


@pytest.mark.slow
@pytest.mark.usefixtures("without_charts")
def test_a_layer_can_be_named(several, tmp_path):
    model, data = several
    layer = next(name for name, part in model.named_modules() if isinstance(part, torch.nn.Conv2d))
    settings = replace(TINY, few=2, attacks=(), trust=replace(TINY.trust, attacked=0))
    kept = {"settings": settings, "methods": ["grad-cam"], "out": tmp_path}
    first, own = (pl.audit(model, data, layer=at, **kept) for at in (layer, None))  # both in one folder

    alone = pl.localize(model, data, "grad-cam", layer=layer, limit=2, boxes=False)
    located = [[r.value for r in rows if r.method == "grad-cam"] for rows in (alone.measured, first.measured)]
    np.testing.assert_array_equal(*located)
    places = [[r["value"] for r in one.results["trust"]["rows"] if r["measure"] == PLACE] for one in (first, own)]
    assert places[0] != places[1]
    assert (first.results["about"]["layer"], own.results["about"]["layer"]) == (layer, None)
    first.save(tmp_path)
    assert f"at the layer <code>{layer}</code>" in (tmp_path / "report.html").read_text()
    begun = []
    with pytest.raises(InputError, match=r"unknown layer 'backbone\.nowhere'"):
        pl.audit(model, data, settings=TINY, layer="backbone.nowhere", announce=begun.append)
    with pytest.raises(InputError, match="none of saliency takes one"):
        pl.audit(model, data, settings=TINY, layer=layer, methods=["saliency"], announce=begun.append)
    assert begun == []


@pytest.mark.usefixtures("without_charts")
def test_a_model_that_gives_no_answer_is_reported_and_ends_as_an_error(sides, tmp_path):
    broken = seer()
    with torch.no_grad():
        broken.module.scale.fill_(float("nan"))
    result = pl.audit(broken, sides, settings=TINY)
    assert "not finite" in result.problem
    assert {p["name"] for p in result.results["parts"] if p["reason"]} >= {"attack", "trust"}
    assert "cannot be said" in str(result.tables()[0].rows)
    result.save(tmp_path)


@pytest.mark.parametrize(("limit", "expected"), [(None, "--searched 40 looks"), (24, "24 images are too few, and 40")])
def test_a_search_is_advised_on_as_many_images_as_there_are(sides, limit, expected):
    settings = replace(TINY, attacks=(), limit=limit)
    result = pl.audit(seer(), sides, settings=settings, methods=["saliency"])
    assert expected in {p["name"]: p["reason"] for p in result.results["parts"]}["discovery"]


class SilentOnBright(Brightness):
    """Gives no answer on images that hold a pixel brighter than a limit, as a square root of what is negative does."""

    def __init__(self, limit, side=slice(None)):
        super().__init__()
        self.limit, self.side = limit, side

    def forward(self, images):
        brightest = images[..., self.side].amax((1, 2, 3))
        return super().forward(images) + (self.limit - brightest).sqrt()[:, None] * 0


@pytest.mark.parametrize("several_labels", [False, True])
def test_where_no_answer_is_the_reason_the_verdict_says_so_and_what_to_do(sides, several_labels):
    """Each class has twenty images, so that it is not for want of them that nothing can be said."""
    data, spec = sides, InputSpec.square(1, 16)
    if several_labels:
        truth = np.eye(2, dtype=np.float32)[sides.targets.astype(int)]
        data = replace(sides, card=replace(sides.card, task="multilabel"), targets=truth)
    model = wrap(SilentOnBright(0.61), mean=[0.0], std=[1.0], task=data.task, classes=data.classes, input_spec=spec)
    model.card["thresholds"] = [0.5, 0.5]
    missing = int(np.isnan(predict(model, materialize(data, spec))).any(1).sum())
    assert 0 < missing < len(data) == 40
    result = pl.audit(model, data, settings=TINY, methods=["saliency"])
    told = [s for s in result.statements if s["part"] in ("classification", "classes", "calibration")]
    assert {s["part"] for s in told} == {"classification", "classes", "calibration"}
    for statement in told:
        assert statement["kind"] == "unclear"
        end = f"it gives no answer (NaN or infinite) on {missing} of 40 images."
        assert statement["text"].endswith(end), statement
        assert statement["advice"] == "Look at its weights and at its normalisation."
    assert all(s["advice"] for s in result.statements if s["kind"] != "holds")


def test_a_class_with_answers_is_judged_beside_one_without(audited):
    rows = [dict(r) for r in audited.results["rows"]]
    for row in rows:
        if row["section"] == "threshold" and row["metric"] == "sensitivity" and row["class"] == "left":
            row |= {"value": None, "low": None, "high": None, "reason": "no answer (NaN or infinite) on 3 of 20 images"}
        if row["section"] == "classification" and row["metric"] == "accuracy":
            row |= {"value": None, "low": None, "high": None, "reason": "no answer (NaN or infinite) on 3 of 40 images"}
    told = [s for s in summarize_audit(audited.results | {"rows": rows}).statements if s.part == "classes"]
    assert [s.kind for s in told] == ["unclear", "holds"]
    where = "it gives no answer (NaN or infinite) on 3 of 40 images"
    assert told[0].text == f"Whether it misses left cannot be said: {where}."
    assert told[1].short == "finds more than half of every class that can be judged (1 of 2)"
    assert told[1].text.startswith("Of those on which it always answers, the class that it misses most is right")


@pytest.mark.slow
@pytest.mark.usefixtures("without_charts")
def test_the_command_and_save_write_the_same(pellucid, several, tmp_path):
    model, data = several
    folder = save_model(model, tmp_path / "net")
    options = ["size=32", "train=8", "validation=8", "test=12", "prevalence=0.4"]
    arguments = [part for option in options for part in ("--data-option", option)]
    status, output, errors = pellucid(
        "audit", folder, "--data", "phantom", *arguments, "--quick", "--limit", 6, "--method", "saliency",
        "--corrupted", 0, "--cost", "FN=10", "--prevalence", "Mass=0.02", "--out", tmp_path / "audit",
    )  # fmt: skip
    assert status == 0, errors
    assert "7 of 7" in errors
    assert "wrote" in output
    stored = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert stored["command"].startswith("pellucid audit ")
    assert stored["classification"]["use"] == {"prevalence": {"Mass": 0.02}, "FN": 10.0, "FP": 1.0, "class": None}
    out = tmp_path / "python"
    settings = {"quick": True, "limit": 6, "methods": "saliency", "corrupted": 0, "out": out}
    use = pl.Use({"Mass": 0.02}, false_negative=10)
    pl.audit(pl.load(folder), data, use=use, **settings).save(out)
    trees = [{p.relative_to(top) for p in top.rglob("*") if p.is_file()} for top in (tmp_path / "audit", out)]
    assert trees[0] == trees[1]
    own = json.loads((out / "audit.json").read_text())
    for key in ("about", "facts", "classification", "rows", "elsewhere", "attacks", "discovery", "verdict", "limits"):
        assert own[key] == stored[key], key
    figures = [(top / "tables" / "figures.csv").read_text() for top in (tmp_path / "audit", out)]
    assert figures[0] == figures[1]
    status, _, _ = pellucid("audit", folder, "--data", "phantom", "--cost", "FN=a", "--out", tmp_path / "audit")
    assert "the cost of FN must be a number; found 'a'" in status


@pytest.fixture(scope="module")
def report(whole, tmp_path_factory):
    return write_audit(whole.results, whole.pictures, whole.wrong, tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_fits_the_screen_and_begins_with_the_verdict(width, whole, report, browser):
    page = browser.new_page(viewport={"width": width, "height": 900})
    requests, complaints = [], []
    page.on("request", lambda r: requests.append(r.url))
    page.on("console", lambda m: complaints.append(m.text))
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h2").first.inner_text() == "In plain words"
    top = page.locator("#verdict .conclusion").bounding_box()
    assert top["y"] + top["height"] < 900  # on the first screen, also of a phone
    assert page.locator("main img").first.bounding_box()["y"] < 800  # and so is a picture
    assert page.locator("#verdict li").count() == len(whole.statements)
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
    assert complaints == []
    page.close()


@pytest.mark.parametrize(
    ("ends", "kind", "figure"),
    [
        ((0.503, 0.545), "holds", "0.524 [0.503, 0.545]"),
        ((0.4996, 0.545), "unclear", "0.5240 [0.4996, 0.5450]"),
        ((0.48, 0.52), "unclear", "0.52 [0.48, 0.52]"),
        ((0.500003, 0.545), "holds", "0.52 [just above 0.50, 0.55]"),
    ],
)
def test_what_a_verdict_on_chance_rests_on_reads_on_its_side_of_it(ends, kind, figure):
    row = {"section": "classification", "metric": "auroc", "class": "mean", "variant": "it", "at": None, "value": 0.524}
    row |= {"low": ends[0], "high": ends[1], "n": 400}
    index = ResultsIndex({"variants": [{"label": "it"}], "rows": [row], "data": {"task": "multilabel"}})
    statement = _ranks(index)
    assert statement.kind == kind
    assert f"with a chance of {figure} (mean AUROC" in statement.text
    assert f"(mean AUROC {figure.split()[0]})" in statement.short
