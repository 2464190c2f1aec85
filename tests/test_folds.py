"""Cross-validation by patient: who is in which fold, and a study whose figures are those of all its folds together."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pellucid.data import open_dataset
from pellucid.data.folds import assign_folds, fold_parts, join
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import classification_table
from pellucid.evaluation.metrics.explanations import score_explanations
from pellucid.evaluation.metrics.localization import match_boxes
from pellucid.models.inference import predict, probabilities
from pellucid.models.weights import load_trained, read_model_card
from pellucid.study import judging as judging_module
from pellucid.study import load_study, run_study
from pellucid.study import run as run_module
from pellucid.study import training as training_module
from pellucid.study.context import StudyContext
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.study.folds import data_of_fold
from pellucid.study.judging import judge_again
from pellucid.study.kept import finished as finished_module
from pellucid.study.kept.finished import FinishedRuns
from pellucid.study.kept.per_image import read_per_image
from pellucid.study.run import AWAY
from pellucid.study.runs import plan
from pellucid.types import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]


@pytest.fixture(scope="module")
def ward():
    """90 phantom images of 40 patients with one to four images each, half of the images without their regions."""
    splits = open_dataset("phantom", options={"size": 32, "train": 60, "validation": 20, "test": 10, "prevalence": 0.2})
    images = join(list(splits.values()))
    sizes = np.random.default_rng(0).permutation(np.repeat([1, 2, 3, 4], [14, 8, 12, 6])[:40])
    patients = [f"patient {i}" for i, size in enumerate(sizes) for _ in range(size)][: len(images)]
    patients += [f"last {i}" for i in range(len(images) - len(patients))]
    rows = set(range(45))
    regions = type(images.regions)(tuple(r for r in images.regions.items if r.image in rows))
    return replace(images, patients=tuple(patients), regions=regions)


def test_parts_are_joined_with_their_pixels_and_regions():
    splits = open_dataset("phantom", options={"size": 32, "train": 5, "validation": 4, "test": 3, "prevalence": 0.5})
    whole = join(list(splits.values()))
    assert len(whole) == 12
    start = 0
    for part in splits.values():
        for row in range(len(part)):
            assert whole.ids[start + row] == part.ids[row]
            np.testing.assert_array_equal(whole.read(start + row), part.read(row))
            for label in part.regions.labels:
                mask = part.regions.mask(row, label, 32)
                np.testing.assert_array_equal(whole.regions.mask(start + row, label, 32), mask)
        start += len(part)


@pytest.mark.parametrize("count", [2, 5])
def test_folds_share_no_patient_and_are_alike(ward, count):
    folds = assign_folds(ward, count, seed=3)
    assert set(folds.tolist()) == set(range(count))
    of_patient = {}
    for patient, fold in zip(ward.patients, folds.tolist(), strict=True):
        assert of_patient.setdefault(patient, fold) == fold
    largest = max(Counter(ward.patients).values())
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 2 * largest
    marked = np.bincount(folds[sorted({r.image for r in ward.regions.items})])
    assert marked.max() - marked.min() <= 2 * largest
    for shown in ward.targets.T:
        per_fold = np.bincount(folds[shown == 1], minlength=count)
        assert per_fold.min() > 0
        assert per_fold.max() - per_fold.min() <= max(4, shown.sum() / 4)


def test_folds_depend_on_patients_and_seed_alone(ward):
    folds = assign_folds(ward, 4, seed=0)
    order = np.random.default_rng(1).permutation(len(ward))
    np.testing.assert_array_equal(assign_folds(ward.subset(order), 4, seed=0), folds[order])
    assert (assign_folds(ward, 4, seed=1) != folds).any()


def test_the_parts_of_a_fold_share_no_patient(ward):
    folds = assign_folds(ward, 5, seed=0)
    tested = []
    for fold in range(5):
        parts = fold_parts(ward, folds, fold, validation_fraction=0.2, seed=0)
        patients = [set(part.patients) for part in parts.values()]
        assert sum(map(len, patients)) == len(set.union(*patients)) == len(set(ward.patients))
        assert [part.split for part in parts.values()] == ["train", "validation", "test"]
        assert 0.1 < len(parts["validation"]) / (len(ward) - len(parts["test"])) < 0.3
        tested += parts["test"].ids
    assert sorted(tested) == sorted(ward.ids)


def test_too_few_patients_are_refused(ward):
    few = ward.subset(range(4))
    with pytest.raises(
        InputError, match=r"phantom: 5 folds need at least as many patients; found [1-4]\. Ask for fewer"
    ):
        assign_folds(few, 5, seed=0)
    with pytest.raises(InputError, match="as many images; found 4"):
        assign_folds(replace(few, patients=few.ids), 5, seed=0)
    with pytest.raises(InputError, match="at least 2 folds"):
        assign_folds(ward, 1, seed=0)


def test_areas_are_means_over_folds_whose_logits_are_on_scales_of_their_own():
    rng = np.random.default_rng(0)
    folds = np.repeat([0, 1, 2], 40)
    truth = rng.integers(0, 2, (120, 2)).astype(float)
    logits = truth + rng.normal(size=(120, 2)) + 10.0 * folds[:, None]
    draws = Bootstrap(range(120), 200)
    table = classification_table(logits, truth, ["a", "b"], "multilabel", draws, folds)
    for k, name in enumerate(("a", "b")):
        for metric, reference in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
            figure = table[name][metric]
            per_fold = [reference(truth[folds == f, k], logits[folds == f, k]) for f in range(3)]
            assert figure.value == pytest.approx(np.mean(per_fold))
            assert (figure.n, figure.patients, figure.positives) == (120, 120, int(truth[:, k].sum()))
            assert figure.interval.low < figure.value < figure.interval.high
    shifted = classification_table(logits - 10.0 * folds[:, None], truth, ["a", "b"], "multilabel", draws, folds)
    assert shifted["mean"]["auroc"].value == pytest.approx(table["mean"]["auroc"].value)
    pooled = classification_table(logits, truth, ["a", "b"], "multilabel", draws)
    assert (
        pooled["mean"]["auroc"].value < table["mean"]["auroc"].value - 0.1
    )  # what it would say of the networks' scales


# a study with folds

TINY = [
    "seeds=[0, 1]",
    "folds=2",
    "validation_fraction=0.25",
    "data.options={size=32, train=24, validation=8, test=16, prevalence=0.5}",
    "settings.model={name='small', size=32, options={widths=[4], blocks=[1], strides=[2]}}",
    "settings.training={epochs=1, batch_size=8}",
    "variants=[{label='plain', recipe='khakzar2019-baseline'}, "
    "{label='on', recipe='khakzar2019-robust', init='plain'}]",
    "conclusions.primary=[]",
    "evaluation.robustness={sizes=['pgd:linf=0.01'], steps=1, limit=20}",
    "evaluation.methods=['cam']",
    "evaluation.targets=[{name='findings', regions={Mass=['Mass'], Effusion=['Effusion']}}]",
    "evaluation.resamples=100",
    "evaluation.trust.methods=[]",
    "evaluation.adversarial.cases=0",
    "evaluation.panels=0",
]


@pytest.fixture(scope="module")
def study():
    return load_study("demo", TINY)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("folds") / "out"
    run_study(study, None, out, device="cpu", jobs=1)
    return out


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "results.json").read_text())


@pytest.fixture(scope="module")
def stage(study, finished):
    return prepare_evaluation_data(StudyContext(study, None, finished))


def figure(results, section, metric, variant, **where):
    rows = [
        r
        for r in results["rows"]
        if (r["section"], r["metric"], r["variant"]) == (section, metric, variant)
        and all(r[key] == value for key, value in ({"class": "mean"} | where).items())
    ]
    (row,) = rows
    return row


def test_every_image_is_judged_by_a_network_that_never_saw_it(study, finished, results, stage):
    data, evaluations = read_per_image(finished / "per-image.npz")
    assert len(data.test) == 48
    for variant, seeds in evaluations.items():
        for seed, one in zip(study.seeds, seeds, strict=True):
            for run in plan(study, finished):
                if (run.label, run.seed) != (variant, seed):
                    continue
                rows = np.flatnonzero(data.folds == run.fold)
                network = load_trained(run.folder)
                np.testing.assert_allclose(one.logits[rows], predict(network, stage.images[rows]), atol=1e-5)
                np.testing.assert_allclose(one.thresholds[run.fold], read_model_card(run.folder)["thresholds"])
    assert all(seen["trained_on"] == seen["selected_on"] == 0 for seen in results["training_images"])
    assert {seen["images"] for seen in results["training_images"] if seen["part"] == "test"} == {48}
    dealt = results["folds"]["images"]
    assert [[data.test.ids[i] for i in np.flatnonzero(data.folds == f)] for f in (0, 1)] == dealt
    assert any("judged by the network of its own fold" in line for line in results["limits"])
    page = (finished / "report.html").read_text()
    assert "1, fold 1" in page
    assert not any("Patients are not known" in line for line in results["limits"])


def test_figures_are_those_of_all_folds_together(study, finished, results, stage):
    """Against brute force on the networks themselves, fold by fold."""
    runs = plan(study, finished)
    for variant in ("plain", "on"):
        for place, seed in enumerate(study.seeds):
            areas, right, known, hits, boxes, pointing = [], 0, 0, 0, 0, {}
            for run in (r for r in runs if (r.label, r.seed) == (variant, seed)):
                data, network = data_of_fold(stage, run.fold), load_trained(run.folder)
                logits, truth = predict(network, data.images), data.test.targets
                areas.append(np.mean([roc_auc_score(truth[:, k], logits[:, k]) for k in range(truth.shape[1])]))
                predicted = probabilities(predict(network, data.attacked_images), "multilabel")
                cuts = np.array(read_model_card(run.folder)["thresholds"])
                right += int(((predicted >= cuts) == (data.attacked.targets == 1)).sum())
                known += data.attacked.targets.size
                (task,) = data.tasks
                scores = score_explanations(network, task, "cam", boxes=True)
                counts = match_boxes(scores.localization_input(task), gated=False)
                criterion = [str(c) for c in counts.criteria].index("IoBB@0.1")
                hits, boxes = hits + counts.hits[..., criterion].sum(0), boxes + counts.true_boxes.sum(0)
                for label, value in zip(task.pair_class, scores.scores["pointing"], strict=True):
                    pointing.setdefault(int(label), []).append(value)
            auroc = figure(results, "classification", "auroc", variant)
            assert auroc["seeds"][place] == pytest.approx(np.mean(areas))
            clean = figure(results, "robustness", "accuracy", variant, at="0")
            assert clean["seeds"][place] == pytest.approx(right / known)
            located = figure(results, "localization", "pointing", variant)
            assert located["seeds"][place] == pytest.approx(np.mean([np.mean(v) for v in pointing.values()]))
            wang = figure(results, "wang", "accuracy", variant, at="IoBB > 0.1", gate="annotated")
            assert wang["seeds"][place] == pytest.approx(np.mean((hits / boxes)[boxes > 0]))
    difference = figure(results, "classification", "auroc", "on")["difference"]
    assert difference["recipes"]["low"] is not None  # a seed's folds together are one training
    assert difference["recipes"]["trainings_df"] == [1, 1]


def test_a_later_sitting_goes_on_from_the_small_files_alone(study, finished, results, tmp_path, monkeypatch):
    shutil.copytree(finished / "finished", tmp_path / "finished")
    assert sum(f.stat().st_size for f in (tmp_path / "finished").iterdir()) < 200_000
    for file in (tmp_path / "finished").iterdir():  # they are committed: nothing of the machine stands in them
        assert str(finished.parent) not in str(np.load(file)["about"])
    trained = []
    real = training_module.train_one

    def counted(context, run, threads):
        trained.append(run.folder.name)
        return real(context, run, threads)

    monkeypatch.setattr(training_module, "train_one", counted)
    monkeypatch.setattr(run_module, "write_report", lambda *_: tmp_path / "report.html")
    (tmp_path / "finished" / "on-seed1-fold0.npz").unlink()
    run_study(study, None, tmp_path, device="cpu", jobs=1)
    assert trained == ["plain-seed1-fold0", "on-seed1-fold0"]  # its base is not here either
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["rows"] == results["rows"]
    assert again["folds"] == results["folds"]
    assert [v["runs"][0] for v in again["variants"]] == [v["runs"][0] for v in results["variants"]]
    assert AWAY in again["limits"]
    other = load_study("demo", [*TINY, "settings.training.epochs=2"])
    with pytest.raises(InputError, match=r"plain-seed0-fold0.npz is of another training of plain \(recipe differ\)"):
        run_study(other, None, tmp_path, device="cpu", jobs=1)


def test_a_file_stands_as_long_as_its_rules_do(study, finished, stage, tmp_path, monkeypatch):
    """One of before the rules stood in it was made by the first of them."""
    shutil.copytree(finished / "finished", tmp_path / "finished")
    context = StudyContext(study, None, tmp_path)
    runs, run = FinishedRuns(context, {}), context.runs[0]
    arrays = dict(runs.store.read(run.folder.name))
    about = json.loads(str(arrays["about"]))
    assert about["key"].pop("rules") == finished_module.FIRST_RULES
    runs.store.write(run.folder.name, arrays | {"about": np.array(json.dumps(about))})
    assert runs.read(run) is not None
    monkeypatch.setattr(finished_module, "RULES", finished_module.RULES | {"scores": 2})
    assert runs.read(run) is None


def test_it_is_judged_again_from_what_is_kept(study, finished, results, tmp_path, monkeypatch):
    monkeypatch.setattr(judging_module, "write_report", lambda *_: tmp_path / "report.html")
    for name in ("results.json", "per-image.npz"):
        shutil.copyfile(finished / name, tmp_path / name)
    judge_again(study, tmp_path)
    again = json.loads((tmp_path / "results.json").read_text())
    for metric, section in (("auroc", "classification"), ("pointing", "localization"), ("accuracy", "robustness")):
        where = {"at": "0"} if section == "robustness" else {}
        before, after = (figure(r, section, metric, "on", **where) for r in (results, again))
        for key in ("value", "low", "high", "seeds"):
            assert after[key] == pytest.approx(before[key], abs=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("folds=1", "greater than or equal to 2"),
        ("evaluation.ara.kinds=['attack']", "areas are not measured over folds"),
        ("evaluation.targets=[{name='elsewhere', data={name='phantom'}}]", "'elsewhere' has others"),
        ("folds=60", "60 folds need at least as many patients; found 35"),
        ("evaluation.robustness.limit=1", "fold . has no attacked image: raise evaluation.robustness.limit"),
    ],
)
def test_folds_that_cannot_be_are_refused_before_anything_is_trained(tmp_path, override, message):
    with pytest.raises(InputError, match=message):
        run_study(load_study("demo", [*TINY, override]), None, tmp_path / "out", device="cpu", jobs=1)
    assert not (tmp_path / "out" / "runs").exists()
