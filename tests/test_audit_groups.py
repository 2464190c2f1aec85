"""For whom? Figures of groups as scikit-learn has them, a group that is served worse, and tables that misfit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

import pellucid as pl
from helpers.models import small
from pellucid.audit.classification import Answers
from pellucid.audit.groups import DESCRIBED, TESTED, group_figures, make_groupings, parse_groups
from pellucid.audit.settings import AuditSettings
from pellucid.audit.verdict import _grouped
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.metadata import read_metadata
from pellucid.evaluation.metrics.operating_points import Use
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.models.inference import probabilities
from pellucid.models.weights import save_model
from pellucid.report.pages.audit import (
    MAIN,
    MORE_OF_GROUPS,
    class_group_tables,
    group_tables,
    more_group_tables,
)
from pellucid.types import InputError

N = 400
CARD = DatasetCard("made", "Made", "multilabel", ("Mass", "Rare"))


@pytest.fixture(scope="module")
def answers():
    """Mass is hidden from the model for one sex; of Rare there are too few for any group."""
    rng = np.random.default_rng(1)
    targets = np.stack([rng.random(N) < 0.4, np.arange(N) < 8], 1).astype(np.float32)
    sex, age = rng.choice(["F", "M"], N), rng.integers(0, 90, N)
    logits = rng.normal(size=(N, 2)) + 4 * (targets - 0.5)
    logits[sex == "F", 0] = rng.normal(size=(sex == "F").sum())
    metadata = {"sex": sex.tolist(), "age": [str(a) for a in age], "odd": ["x"] * 5 + ["y"] * (N - 5)}
    names = tuple(f"part/{i:03}.png" for i in range(N))
    patients = tuple(f"p{i // 2}" for i in range(N))
    data = Dataset(CARD, "test", names, patients, targets, lambda i: None, metadata=metadata)
    return Answers("m", logits.astype(np.float32), data, [0.5, 0.5])


@pytest.fixture(scope="module")
def found(answers):
    groupings, left_out = make_groupings(answers.dataset.metadata)
    assert left_out == {}
    return group_figures(answers, groupings)


def row(found, column, group, metric):
    (one,) = [r for r in found["rows"] if (r["column"], r["group"], r["metric"]) == (column, group, metric)]
    return one


def test_a_groups_figures_are_those_of_its_images_alone(found, answers):
    inside = np.array(answers.dataset.metadata["sex"]) == "F"
    predicted = probabilities(answers.logits, "multilabel")
    truth = answers.dataset.targets
    for name, rows in (("F", inside), ("M", ~inside)):
        mass, said = truth[rows, 0], predicted[rows, 0] >= 0.5
        assert row(found, "sex", name, "auroc")["value"] == pytest.approx(roc_auc_score(mass, predicted[rows, 0]))
        assert row(found, "sex", name, "sensitivity")["value"] == pytest.approx(recall_score(mass, said))
        assert row(found, "sex", name, "specificity")["value"] == pytest.approx(recall_score(mass, said, pos_label=0))
        right = accuracy_score(truth[rows].ravel(), (predicted[rows] >= 0.5).ravel())
        assert row(found, "sex", name, "accuracy")["value"] == pytest.approx(right)
        average = row(found, "sex", name, "average_precision")
        assert average["value"] == pytest.approx(average_precision_score(mass, predicted[rows, 0]))
        balanced = row(found, "sex", name, "balanced_accuracy")["value"]
        assert balanced == pytest.approx(balanced_accuracy_score(mass, said))
        brier = row(found, "sex", name, "brier")["value"]
        assert brier == pytest.approx(brier_score_loss(truth[rows].ravel(), predicted[rows].ravel()))
        sure = row(found, "sex", name, "overconfidence")["value"]
        assert sure == pytest.approx((predicted[rows] - truth[rows]).mean(), abs=1e-6)
        assert row(found, "sex", name, "calibration_error")["high"] >= abs(sure)
    first = row(found, "sex", "F", "auroc")
    assert first["rest"]["value"] == row(found, "sex", "M", "auroc")["value"]
    assert first["difference"]["value"] == pytest.approx(first["value"] - first["rest"]["value"])
    assert first["low"] < first["value"] < first["high"]
    assert "1 of 2 classes; of the others there are too few images" in first["reason"]


def test_tests_are_corrected_for_how_many_there_are(found):
    """Of two groups one is the rest of the other, and one test; a group of few images has none."""
    groups = {(r["column"], r["group"]) for r in found["rows"]}
    assert {g for c, g in groups if c == "age"} == {
        "below 18", "18 to below 40", "40 to below 60", "60 to below 80", "80 and above"
    }  # fmt: skip
    assert "this group has 5 images, and 20 are needed" in row(found, "odd", "x", "accuracy")["reason"]
    assert row(found, "odd", "y", "accuracy")["value"] is None
    tested = [r for r in found["rows"] if r["p"] is not None and (r["column"], r["group"]) != ("sex", "M")]
    assert len(tested) == found["tests"] >= 4 + 5
    assert [r["p_corrected"] for r in tested] == pytest.approx(holm([r["p"] for r in tested]))
    for metric in ("auroc", "accuracy"):
        same = [row(found, "sex", name, metric)["p_corrected"] for name in ("F", "M")]
        assert same[0] == same[1] < 0.001
    assert all(r["p_corrected"] > 0.05 for r in tested if r["column"] == "age")


def test_figures_that_are_not_tested_have_intervals_and_no_p_value(found):
    plain = [r for r in found["rows"] if r["metric"] in DESCRIBED]
    assert found["tested"] == list(TESTED)
    assert len(plain) * len(TESTED) == (len(found["rows"]) - len(plain)) * len(DESCRIBED)
    assert all(r["p"] is r["p_corrected"] is r["difference"]["value"] is None for r in plain)
    by_sex = [r for r in plain if r["column"] == "sex"]
    assert all(r["low"] <= r["value"] <= r["high"] for r in by_sex if r["metric"] != "calibration_error")
    assert all(0 <= r["low"] <= r["high"] for r in by_sex if r["metric"] == "calibration_error")
    assert {r["metric"] for r in plain} == set(MORE_OF_GROUPS) == set(MAIN) - {"accuracy", "auroc"}


def test_a_group_of_no_known_labels_says_so(answers):
    """Of exclusive classes there is always one; of several labels all of a group may be unknown."""
    inside = np.array(answers.dataset.metadata["sex"]) == "F"
    unknown = np.where(inside[:, None], np.nan, answers.dataset.targets).astype(np.float32)
    silent = replace(answers, dataset=replace(answers.dataset, targets=unknown))
    figures = group_figures(silent, make_groupings({"sex": silent.dataset.metadata["sex"]})[0])
    for metric in ("calibration_error", "overconfidence"):
        assert row(figures, "sex", "F", metric)["reason"] == "no known label"
        assert row(figures, "sex", "M", metric)["value"] is not None


def test_figures_of_exclusive_classes_are_scikit_learns():
    rng = np.random.default_rng(2)
    truth, sex = rng.integers(0, 3, N), rng.choice(["F", "M"], N)
    logits = (rng.normal(size=(N, 3)) + np.eye(3)[truth]).astype(np.float32)
    card = DatasetCard("made", "Made", "multiclass", ("a", "b", "c"))
    names = tuple(f"{i:03}" for i in range(N))
    data = Dataset(card, "test", names, names, truth, lambda i: None, metadata={"sex": sex.tolist()})
    judged = Answers("m", logits, data, [])
    figures, inside = group_figures(judged, make_groupings(data.metadata)[0]), sex == "F"
    predicted, labels = judged.probabilities[inside], truth[inside]
    said = predicted.argmax(1)
    expected = {
        "balanced_accuracy": balanced_accuracy_score(labels, said),
        "average_precision": average_precision_score(np.eye(3)[labels], predicted),
        "brier": ((predicted - np.eye(3)[labels]) ** 2).sum(1).mean(),
        "overconfidence": (predicted.max(1) - (said == labels)).mean(),
    }
    for metric, value in expected.items():
        assert row(figures, "sex", "F", metric)["value"] == pytest.approx(value)


def exclusive(decided, truth, sex, classes=("healthy", "sick")):
    """Answers that decide as they are told to."""
    names = tuple(f"{i:04}" for i in range(len(truth)))
    card = DatasetCard("made", "Made", "multiclass", classes)
    data = Dataset(card, "test", names, names, truth, lambda i: None, metadata={"sex": sex.tolist()})
    logits = np.eye(len(classes))[decided] + 0.1 * np.random.default_rng(0).normal(size=(len(truth), len(classes)))
    return Answers("m", (3 * logits).astype(np.float32), data, [])


def test_of_two_classes_a_group_whose_sick_are_missed_is_named():
    """Sensitivity .95 and specificity .50 in one sex and the reverse in the other: every mean over classes is .725."""
    truth, sex = np.tile([1, 0], 400), np.repeat(["F", "M"], 400)
    place = np.arange(800) // 2 % 200
    right = np.where((truth == 1) == (sex == "F"), place < 190, place < 100)
    answers = exclusive(np.where(right, truth, 1 - truth), truth, sex)
    (grouping,), _ = make_groupings({"sex": sex.tolist()})
    figures = group_figures(answers, [grouping])
    for group, sensitivity, specificity in (("F", 0.95, 0.5), ("M", 0.5, 0.95)):
        assert row(figures, "sex", group, "accuracy")["value"] == pytest.approx(0.725)
        assert row(figures, "sex", group, "balanced_accuracy")["value"] == pytest.approx(0.725)
        assert row(figures, "sex", group, "sensitivity")["value"] == pytest.approx(sensitivity)
        assert row(figures, "sex", group, "specificity")["value"] == pytest.approx(specificity)
    assert {r["class"] for r in figures["rows"] if r["metric"] in ("sensitivity", "specificity")} == {"sick"}
    assert figures["tests"] == 4  # accuracy, AUROC, sensitivity and specificity, none of them twice
    assert figures["class_rows"] == []
    (statement,) = _grouped({"groups": figures})
    assert statement.kind == "fails"
    assert "sex M: Sensitivity for sick 0.50 [" in statement.text
    assert "sex F: Specificity for sick 0.50 [" in statement.text
    assert "Sensitivity for sick" in group_tables(figures)[1].columns
    turned = group_figures(answers, [grouping], use=Use({"healthy": 0.9}))
    assert turned["class"] == "healthy"
    assert row(turned, "sex", "F", "sensitivity")["value"] == pytest.approx(0.5)


def test_of_three_classes_the_class_that_a_group_loses_is_named():
    """The mean sensitivity of both groups is the same: one loses of b what the other loses of c."""
    truth, sex = np.tile([0, 1, 2], 400), np.repeat(["F", "M"], 600)
    place = np.arange(1200) // 3 % 200
    lost = ((truth == 1) & (sex == "F")) | ((truth == 2) & (sex == "M"))
    answers = exclusive(np.where(lost & (place >= 100), 0, truth), truth, sex, ("a", "b", "c"))
    figures = group_figures(answers, make_groupings({"sex": sex.tolist()})[0])
    assert row(figures, "sex", "F", "sensitivity")["difference"]["value"] == pytest.approx(0)
    (of_b,) = [r for r in figures["class_rows"] if (r["group"], r["class"], r["metric"]) == ("F", "b", "sensitivity")]
    assert of_b["value"] == pytest.approx(0.5)
    assert of_b["rest"]["value"] == 1
    assert figures["tests"] == len({(r["metric"], r["class"]) for r in (*figures["rows"], *figures["class_rows"])
                                    if r["p"] is not None})  # fmt: skip
    (statement,) = _grouped({"groups": figures})
    assert "sex F: Sensitivity for b 0.50 [" in statement.text
    assert "sex M: Sensitivity for c 0.50 [" in statement.text
    (table,) = class_group_tables(figures)
    assert [(line.label, line.hint) for line in table.lines][:1] == [("F", "b")]


def test_of_few_patients_there_is_no_p_value(answers):
    """Many images of four patients are no group of many: what one of them is like would count for all."""
    patients = tuple(f"{sex}{i % 4}" for i, sex in enumerate(answers.dataset.metadata["sex"]))
    few = replace(answers, dataset=replace(answers.dataset, patients=patients))
    figures = group_figures(few, make_groupings({"sex": few.dataset.metadata["sex"]})[0])
    assert figures["tests"] == 0
    first = row(figures, "sex", "F", "accuracy")
    assert first["difference"]["value"] is not None
    assert first["low"] is first["difference"]["low"] is first["p"] is first["p_corrected"] is None


def test_two_groups_are_one_test_whatever_bands_nobody_is_in(answers):
    age = ["50" if sex == "F" else "70" for sex in answers.dataset.metadata["sex"]]
    by_age = group_figures(answers, make_groupings({"age": age}, {"age": (18, 60, 80)})[0])
    by_sex = group_figures(answers, make_groupings({"sex": answers.dataset.metadata["sex"]})[0])
    assert by_age["tests"] == by_sex["tests"]
    assert [r["p_corrected"] for r in by_age["rows"]] == [r["p_corrected"] for r in by_sex["rows"]]


def test_the_group_that_is_served_worse_is_named(found, answers):
    (statement,) = _grouped({"groups": found})
    assert statement.kind == "fails"
    assert statement.short == "serves sex F worse than the rest"
    assert "Sensitivity" in statement.text
    worst, by_sex, by_age, odd = group_tables(found)
    assert [line.label for line in worst.lines][:3] == ["sex: F"] * 3
    assert [line.label for line in by_sex.lines] == ["F", "M"]
    assert len(by_age.lines) == 5
    more = more_group_tables(found)
    assert [t.caption for t in more] == ["By sex", "By age", "By odd"]
    assert len(more[0].columns) == len(DESCRIBED)
    assert not more[0].lines[0].cells[0].undefined
    assert worst.lines[0].cells[2].value.startswith("−")
    assert (
        by_sex.lines[0].cells[0].value
        == worst.lines[[row.hint for row in worst.lines].index("Accuracy")].cells[0].value
    )
    assert odd.lines[0].cells[0].undefined
    nothing = group_figures(answers, make_groupings({"sex": ["F", "M"] * (N // 2)})[0])
    assert [s.kind for s in _grouped({"groups": nothing})] == ["unclear"]


def test_two_groups_that_are_each_served_worse_by_some_figure_are_not_both_called_worse_than_the_rest():
    """Whoever has a letter is called sick: without it the sick are missed, with it the healthy are alarmed."""
    rng = np.random.default_rng(0)
    letter, truth = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    names = tuple(map(str, range(400)))
    card = DatasetCard("made", "Made", "multilabel", ("a", "b"))
    targets = np.stack([truth, rng.permutation(truth)], 1).astype(np.float32)
    data = Dataset(card, "test", names, names, targets, lambda i: None)
    logits = np.stack([letter * 6 - 3 + rng.normal(0, 0.1, 400), targets[:, 1] * 6 - 3], 1)
    groupings, _ = make_groupings({"letter": ["no" if one == 0 else "yes" for one in letter]})
    (statement,) = _grouped({"groups": group_figures(Answers("m", logits, data, [0.5, 0.5]), groupings)})
    assert statement.short == "serves the groups by letter unequally, each worse in some figure"
    assert "letter no: Sensitivity for a 0.00 [0.00, " in statement.text
    assert "letter yes: Specificity for a 0.00 [0.00, " in statement.text
    assert "of the rest (p < 0.001)" in statement.text


def test_numbers_are_put_into_bands_that_are_stated():
    ((thirds,), _) = make_groupings({"dose": [str(i) for i in range(9)]})
    assert thirds.bands == pytest.approx((8 / 3, 16 / 3))
    assert np.bincount(thirds.members).tolist() == [3, 3, 3]
    (own, few), _ = make_groupings(
        {"age": ["5", "30", ""], "grade": ["2", "1", "2"]}, parse_groups(["age=20", "grade"])
    )
    assert (own.names, own.members.tolist()) == (("below 20", "20 and above"), [0, 1, -1])
    assert (few.names, few.members.tolist()) == (("1", "2"), [1, 0, 1])
    _, left_out = make_groupings({"name": [str(f"n{i}") for i in range(30)], "same": ["a"] * 30})
    assert "30 different texts" in left_out["name"]
    assert left_out["same"] == "it says the same of all images"
    with pytest.raises(InputError, match=r"no column 'sez' .*Did you mean 'sex'"):
        make_groupings({"sex": ["F", "M"]}, {"sez": ()})
    with pytest.raises(InputError, match="bands are given for sex, which holds 'F'"):
        make_groupings({"sex": ["F", "M"]}, {"sex": (1.0,)})
    with pytest.raises(InputError, match="ascending numbers"):
        parse_groups(["age=60,40"])


@pytest.mark.parametrize(
    ("key", "names", "naming"),
    [
        ("image", lambda d, i: d.ids[i], "images"),
        ("file", lambda d, i: d.ids[i].rpartition("/")[2], "files"),
        ("stem", lambda d, i: d.ids[i][5:-4], "files without their ending"),
        ("person", lambda d, i: d.patients[i], "patients"),
    ],
)
def test_a_table_is_found_by_images_or_patients(answers, tmp_path, key, names, naming):
    data = answers.dataset.subset(range(10))
    rows = [f"{names(data, i)},{'FM'[i // 2 % 2]}" for i in range(0, 8, 1 if naming != "patients" else 2)]
    path = tmp_path / "people.csv"
    path.write_text("\n".join([f"{key},sex", *rows, "somebody else,F"]))
    columns, (note,) = read_metadata(path, data)
    assert columns == {"sex": ("F", "F", "M", "M", "F", "F", "M", "M", "", "")}
    assert note.startswith(
        f"people.csv: its column '{key}' names the {naming}; 2 images of 10 are not in it; 1 row of it"
    )


def test_rows_of_images_that_a_limit_left_out_are_told_from_rows_of_no_image(answers, tmp_path):
    """As with --quick: the table is complete, and its other rows are of images of the same part."""
    whole, path = answers.dataset.subset(range(30)), tmp_path / "people.csv"
    path.write_text("\n".join(["image,sex", *(f"{name},F" for name in whole.ids), "somebody else,F"]))
    _, (note,) = read_metadata(path, whole.subset(range(10)), whole)
    left_out = "20 rows of it are of images that were left out here (a limit on images, as --quick has)"
    assert note == f"people.csv: its column 'image' names the images; {left_out}; 1 row of it is of no image here."
    _, (note,) = read_metadata(path, whole, whole)
    assert note == "people.csv: its column 'image' names the images; 1 row of it is of no image here."


def test_a_table_of_images_that_lacks_one_is_not_taken_for_one_of_patients(answers, tmp_path):
    data, path = answers.dataset.subset(range(10)), tmp_path / "people.csv"
    rows = [f"{data.patients[i]},{data.ids[i]},{i}" for i in range(9)]
    path.write_text("\n".join(["person,image,number", *rows]))
    columns, (note,) = read_metadata(path, data)
    assert columns["number"] == (*map(str, range(9)), "")
    assert note.startswith("people.csv: its column 'image' names the images; 1 image of 10")


def test_tables_that_do_not_fit_are_refused(answers, tmp_path):
    data, path = answers.dataset, tmp_path / "people.csv"
    path.write_text("who,sex\nann,F\n")
    with pytest.raises(InputError, match=r"none of the 400 images: .*'part/000\.png', the patients as 'p0', .*'ann'"):
        read_metadata(path, data)
    path.write_text("who,sex\np0,F\np1,F\np0,M\n")
    with pytest.raises(InputError, match=r"line 2 and line 4 are both of 'p0' and say 'F' and 'M' for 'sex'"):
        read_metadata(path, data)
    path.write_text("who,sex\np0\n")
    with pytest.raises(InputError, match=r"line 2: 1 cell; the first line has 2"):
        read_metadata(path, data)


@pytest.mark.slow
def test_the_page_the_card_and_the_command(pellucid, tmp_path):
    options = {"size": 32, "train": 8, "validation": 8, "test": 60}
    data = pl.dataset("phantom", split="test", **options)
    model, table = small(size=32, classes=data.classes), tmp_path / "people.csv"
    table.write_text("\n".join(["image,scanner,serial", *(f"{n},{'AB'[i % 2]},{n}" for i, n in enumerate(data.ids))]))
    trust = TrustSettings(samples=1, attacked=0)
    settings = AuditSettings(few=2, corrupted=0, attacks=(), trust=trust, searched=0)
    result = pl.audit(model, data, settings=settings, methods=["saliency"], metadata=table)
    assert any(text.startswith("no groups by serial: it holds 60 different texts") for text in result.warnings)
    result.save(tmp_path)
    stored = json.loads((tmp_path / "audit.json").read_text())
    assert stored["groups"]["columns"] == [{"name": "scanner", "groups": ["A", "B"], "bands": []}]
    assert (tmp_path / "tables" / "groups.csv").is_file()
    page = (tmp_path / "report.html").read_text()
    assert "<h2>For whom?</h2>" in page
    assert "By scanner" in page
    assert "The other figures of each group" in page
    assert "or of single groups of people" not in page
    assert "Images by scanner: A 30, B 30." in (tmp_path / "card.md").read_text()
    folder = save_model(model, tmp_path / "net")
    table.write_text("image,sex\nnobody,F\n")
    chosen = [f"--data-option={k}={v}" for k, v in options.items()]
    status, _, errors = pellucid(
        "audit", folder, "--data", "phantom", *chosen, "--metadata", table, "--out", tmp_path / "out"
    )
    assert "names none of the 60 images" in f"{status}"
    assert "1 of" not in errors  # before any work


def test_the_groups_of_a_released_dataset_are_its_own(answers):
    kept = answers.dataset.subset([3, 1])
    assert kept.metadata["age"] == (answers.dataset.metadata["age"][3], answers.dataset.metadata["age"][1])
    assert kept.fingerprint == replace(kept, metadata={}).fingerprint
