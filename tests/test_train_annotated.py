"""Training with annotations from end to end: which images are seen, what is learned, what is recorded and refused."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.forked import run_together
from pellucid.annotations.records import AnnotationSet, LabelAnswer, Mark
from pellucid.annotations.shapes import Rectangle
from pellucid.data import open_dataset
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.training import load_recipe, train
from pellucid.training.annotation_data import annotated_images, corrected, describe
from pellucid.training.batches import Batches
from pellucid.types import InputError, InputSpec

pytestmark = pytest.mark.slow

PHANTOM = {"size": 32, "train": 64, "validation": 24, "test": 4, "prevalence": 0.4}
SMALL = [
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "training.batch_size=16",
    "training.epochs=2",
]
LEFT, TOP = Rectangle(0, 0, 0.5, 1), Rectangle(0, 0, 1, 0.25)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def splits():
    return open_dataset("phantom", options=PHANTOM)


def annotate(dataset, rows=(3, 10, 41), verdicts=()):
    """The left half of some images is irrelevant to a class, the top of the first relevant to another."""
    first, second, *_ = dataset.classes
    marks = [Mark(dataset.ids[row], second, "irrelevant", LEFT) for row in rows]
    marks += [Mark(dataset.ids[row], first, "relevant", TOP) for row in rows[:1]]
    return AnnotationSet(marks, [LabelAnswer(dataset.ids[row], name, said) for row, name, said in verdicts])


def run(splits, out, *overrides, name="annotated", annotations=None, **options):
    recipe = load_recipe(name, [*SMALL, *overrides])
    options = {"device": "cpu", "scorer": ValidationScorer(), "annotations": annotations} | options
    return train(recipe, splits["train"], splits["validation"], out, **options)


def weights(folder):
    return load_file(folder.path / "last" / "weights.safetensors")


def test_the_regions_are_those_of_the_annotations(splits):
    dataset = splits["train"]
    said = annotate(dataset, verdicts=[(7, dataset.classes[0], "yes")])
    found = annotated_images(said, dataset, InputSpec.square(1, 32))
    assert found.rows.tolist() == [3, 7, 10, 41]
    assert found.pairs.tolist() == [[3, 0], [3, 1], [10, 1], [41, 1]]
    marks = found.marks(np.array([5, 41, 3]), CPU)
    assert marks.classes.tolist() == [[-1, -1], [1, -1], [0, 1]]
    relevant, irrelevant = said.masks([dataset.ids[i] for i in (5, 41, 3)], dataset.classes, 32)
    for image, classes in enumerate(marks.classes.tolist()):
        for slot, c in enumerate(classes):
            for ours, theirs in ((marks.relevant, relevant), (marks.irrelevant, irrelevant)):
                expected = theirs[image, c] if c >= 0 else np.zeros((32, 32))
                assert np.array_equal(ours[image, slot].numpy(), expected)
    assert found.marks(np.array([7, 5]), CPU) is None  # a verdict is no mark


def test_every_batch_holds_its_share_of_annotated_images_whatever_the_number_of_processes(splits):
    dataset = splits["train"]
    found = annotated_images(annotate(dataset), dataset, InputSpec.square(1, 32))
    images = np.zeros((64, 1, 32, 32), np.uint8)

    def epochs(world, seed=1, share=0.25, start=0):
        each = [Batches(images, dataset.targets, 16, CPU, rank, world, found, share) for rank in range(world)]
        steps = [list(zip(*(b.epoch(e, seed=seed, start=start) for b in each), strict=True)) for e in range(3)]
        return [[[i for batch in step for i in batch.indices.tolist()] for step in epoch] for epoch in steps]

    alone = epochs(1)
    assert alone == epochs(2) == epochs(4) == epochs(1)
    assert alone != epochs(1, seed=2)
    assert [epoch[2:] for epoch in alone] == epochs(2, start=2)
    for epoch in alone:
        assert len(epoch) == 61 // 12
        seen = Counter(i for step in epoch for i in step)
        marked = [seen.pop(i, 0) for i in (3, 10, 41)]
        assert sum(marked) == 4 * 5
        assert max(marked) - min(marked) <= 1  # in turn
        assert set(seen.values()) == {1}  # the others once
        assert all(sum(i in (3, 10, 41) for i in step) == 4 for step in epoch)
    assert sorted(i for step in epochs(1, share=0.0)[0] for i in step) == list(range(64))
    (batch, *_) = Batches(images, dataset.targets, 16, CPU, 0, 1, found, 0.25).epoch(0, seed=1)
    assert [bool((c >= 0).any()) for c in batch.marks.classes] == [i in (3, 10, 41) for i in batch.indices.tolist()]


@pytest.mark.parametrize(("count", "batch", "rows"), [(8, 4, range(7)), (4, 4, range(4)), (3, 8, [1]), (5, 1, [2])])
def test_any_number_of_annotated_images_gives_whole_batches(splits, count, batch, rows):
    dataset = splits["train"].subset(range(count))
    found = annotated_images(annotate(dataset, rows), dataset, InputSpec.square(1, 32))
    batches = Batches(np.zeros((count, 1, 32, 32), np.uint8), dataset.targets, batch, CPU, 0, 1, found, 0.25)
    steps = [b.indices.tolist() for b in batches.epoch(0, seed=0)]
    assert len(steps) == len(batches) > 0
    assert {len(s) for s in steps} == {min(batch, count)}


def test_labels_that_people_gave_take_the_place_of_the_old(splits):
    dataset = splits["train"]
    name, other, *_ = dataset.classes
    was = dataset.targets[5, 0] == 1
    said = [(5, name, "no" if was else "yes"), (6, other, "yes" if dataset.targets[6, 1] == 1 else "no")]
    said += [(7, name, "unsure")]
    new, changed = corrected(annotate(dataset, verdicts=said), dataset)
    assert changed == 1
    assert new.targets[5, 0] == (not was)
    assert int((new.targets != dataset.targets).sum()) == 1
    assert new.fingerprint == dataset.fingerprint  # decoded images are found again
    unknown = dataclasses.replace(dataset, targets=np.full_like(dataset.targets, math.nan))
    assert corrected(annotate(dataset, verdicts=said), unknown)[1] == 2  # an unknown label becomes known


def test_one_label_an_image_is_corrected_or_contradicted():
    card = DatasetCard("toy", "Toy", "multiclass", ("a", "b", "c"))
    dataset = Dataset(card, "train", ("x", "y"), ("x", "y"), np.array([0, 1]), lambda _: np.zeros((4, 4), np.uint8))

    def after(*said):
        new, changed = corrected(AnnotationSet(verdicts=[LabelAnswer(*each) for each in said]), dataset)
        return new.targets.tolist(), changed

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert after(("x", "a", "no"), ("x", "c", "yes"), ("y", "b", "yes"), ("y", "a", "no")) == ([2, 1], 1)
        most = [("x", "c", "yes", "Ann"), ("x", "b", "yes", "Bob"), ("x", "c", "yes", "Cid"), ("x", "b", "no", "Ann")]
        assert after(*most) == ([2, 1], 1)
        assert after(("x", "b", "no"), ("y", "c", "unsure")) == ([0, 1], 0)  # which says nothing else
    for undecided in (
        [("x", "a", "yes", "Ann"), ("x", "c", "yes", "Bob")],  # two people who disagree
        [("x", "c", "yes", "Ann"), ("x", "c", "no", "Bob")],
        [("x", "a", "no", "Ann")],  # and what it is, nobody says
    ):
        with pytest.warns(UserWarning, match=r"toy: .* of 1 image, .* which one it is: x\."):
            assert after(*undecided, ("y", "a", "yes")) == ([0, 0], 1)  # the others are learned from


@pytest.mark.parametrize("way", ["gradient", "cam"])
def test_the_term_falls_in_training_and_would_not_without_it(splits, tmp_path, way):
    said = annotate(splits["train"])
    longer = ["training.epochs=6", "optimizer.lr=0.01", f"objective.annotations.explanation={way}"]
    found = {}
    for weight in (1e-9, 3.0):
        folder = run(
            splits, tmp_path / str(weight), *longer, f"objective.annotations.weight={weight}", annotations=said
        )
        found[weight] = [row["annotation_term"] for row in folder.metrics()]
    assert found[3.0][-1] < 0.7 * found[1e-9][-1]
    assert found[3.0][-1] < found[3.0][0]
    about = folder.read()["annotations"]
    assert about | {"sha256": ""} == {
        "sha256": "",
        "images": 3,
        "marked_images": 3,
        "relevant": 1,
        "irrelevant": 3,
        "labels_changed": 0,
    }


def test_the_hash_is_that_of_what_is_learned_from(splits):
    dataset, seen = splits["train"], set()
    name = dataset.classes[0]
    wrong = "no" if dataset.targets[5, 0] == 1 else "yes"
    for said in (
        annotate(dataset),
        annotate(dataset, (3, 10)),
        annotate(dataset, (4, 10, 41)),
        annotate(dataset, verdicts=[(5, name, wrong)]),
    ):
        new, changed = corrected(said, dataset)
        seen.add(describe(annotated_images(said, dataset, InputSpec.square(1, 32)), new, changed)["sha256"])
    assert len(seen) == 4


def test_a_run_cut_off_goes_on_as_if_it_had_not_been(splits, tmp_path):
    said = annotate(splits["train"], verdicts=[(5, splits["train"].classes[0], "yes")])
    options = ["augment.rotation=10", "training.checkpoint_seconds=0"]
    whole = run(splits, tmp_path / "whole", *options, annotations=said)
    stopped = tmp_path / "stopped"

    class Cut(ValidationScorer):
        def metrics(self, logits, dataset):
            if self.seen:  # after the second epoch
                raise KeyboardInterrupt
            self.seen = True
            return super().metrics(logits, dataset)

        seen = False

    with pytest.raises(KeyboardInterrupt):
        run(splits, stopped, *options, annotations=said, scorer=Cut())
    with pytest.raises(InputError, match="another annotations"):
        run(splits, stopped, *options, annotations=annotate(splits["train"]), resume=True)
    resumed = run(splits, stopped, *options, annotations=said, resume=True)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(resumed)[name]), name
    drop = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in whole.metrics()] == [
        {k: v for k, v in row.items() if k not in drop} for row in resumed.metrics()
    ]


@pytest.mark.parametrize("name", ["khakzar2019-robust", "woods2019-robust", "trades", "han2021"])
def test_it_goes_with_other_recipes(splits, tmp_path, name):
    options = ["model.channels=1", "model.mean=none", "model.std=none", "training.epochs=1", "objective.loss=auto"]
    options += ["objective.attack.steps=1"] if name in ("trades", "han2021") else []
    options += (
        ["model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2], batch_norms=2}"] if name == "han2021" else []
    )
    said = annotate(splits["train"])
    folder = run(splits, tmp_path, *options, "objective.annotations.measure=share", name=name, annotations=said)
    (row,) = folder.metrics()
    assert 0 < row["annotation_term"] < 1
    assert math.isfinite(row["loss"])


def test_annotations_that_would_be_left_aside_and_a_recipe_without_any_are_refused(splits, tmp_path):
    said = annotate(splits["train"])
    for options in ({"name": "standard"}, {"overrides": ["objective.annotations.weight=0"]}):
        with pytest.raises(InputError, match=r"--set objective.annotations.weight=0.3, or take the recipe annotated"):
            run(
                splits, tmp_path, *options.get("overrides", ()), name=options.get("name", "annotated"), annotations=said
            )
    with pytest.raises(InputError, match=r"there are none. Give them: --annotations .*objective.annotations=none"):
        run(splits, tmp_path)
    with pytest.raises(InputError, match=r"none of the 3 annotated images is among the 2 training images"):
        run(splits | {"train": splits["train"].subset([0, 1])}, tmp_path, annotations=said)
    with pytest.raises(InputError, match=r"none of the 0 annotated images"):
        run(splits, tmp_path, annotations=AnnotationSet())
    assert not list(tmp_path.iterdir())


WORKER = """
import json, sys, pathlib, torch
import test_train_annotated as t
splits = t.open_dataset("phantom", options=t.PHANTOM)
t.run(splits, pathlib.Path(sys.argv[1]), *json.loads(sys.argv[2]), annotations=t.annotate(splits["train"]))
torch.distributed.destroy_process_group()
"""


def test_two_processes_make_the_update_of_one(splits, tmp_path):
    options = ["training.freeze_batch_norm=true", "optimizer={name='sgd', lr=0.3, momentum=0.9}"]
    options += ["objective.annotations.weight=3"]
    run_together(tmp_path / "two", json.dumps(options), code=WORKER)
    one = run(splits, tmp_path / "one", *options, annotations=annotate(splits["train"]))
    both = dataclasses.replace(one, path=tmp_path / "two")
    assert both.read()["processes"] == 2
    for name, tensor in weights(one).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(weights(both)[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    for row, same in zip(one.metrics(), both.metrics(), strict=True):
        assert same["annotation_term"] == pytest.approx(row["annotation_term"], rel=1e-4)


def test_the_command_fine_tunes_with_a_database(splits, tmp_path, pellucid):
    pytest.importorskip("sqlalchemy", reason="the extra annotate is not installed")
    from pellucid.annotations.store import open_store

    data = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in PHANTOM.items()), "--device", "cpu"]
    small = [f"--set={text}" for text in SMALL]
    first, second, marks = tmp_path / "first", tmp_path / "second", tmp_path / "annotations.db"
    assert pellucid("train", "standard", *data, *small, "--out", first)[0] == 0
    said = annotate(splits["train"])
    with open_store(marks, create=splits["train"]) as store:
        for mark in said.marks:
            store.add_mark(mark)
    fine = ["train", "annotated", *data, "--init", first, "--set=training.batch_size=16", "--out", second]
    status, _, told = pellucid(*fine)
    assert status
    assert "--annotations annotations.db" in f"{status} {told}"
    status, said, told = pellucid(*fine, "--annotations", marks)
    assert status == 0, told
    assert "learned from 3 annotated images, 3 of them marked: 1 relevant and 3 irrelevant regions; 0 labels" in said
    assert "annotation_term" in (second / "metrics.jsonl").read_text()
    status, _, told = pellucid(*fine[:-1], tmp_path / "third", "--annotations", tmp_path / "nowhere.db")
    assert status
    assert "nowhere.db" in f"{status} {told}"
