"""Boxes as marks: fine-tune a network on half of the boxed patients of ChestX-ray14, score its maps on the other half.

Run as `python loop.py ROOT BASE OUT`: the dataset's folder, the trained network, a folder for runs, scores and tables.
What is there already is not made again. See README.md.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid.annotations.files import import_annotations
from pellucid.annotations.loading import load_annotations
from pellucid.data import open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.dataset import get_split
from pellucid.evaluation.metrics.comparison import Row, classification_rows, localization_rows, trivial_rows
from pellucid.evaluation.metrics.explanations import arrays_of, localization_task, score_explanations, scores_of
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.training import load_recipe, train
from pellucid.training.network import starting_from
from pellucid.training.run import RunFolder
from pellucid.types import InputSpec
from pellucid.utils.csv_table import write_csv
from pellucid.utils.digests import read_arrays, write_arrays

if TYPE_CHECKING:
    from pellucid.annotations.records import AnnotationSet
    from pellucid.data.dataset import Dataset, Splits

DATA = {"validation_fraction": 0.2, "boxed_for_training": 0.5}  # the first is the base's, so that it never saw them
OTHERS = 320  # training images without boxes
SETTINGS = (
    "objective.loss=weighted_cross_entropy",  # the base's own
    "objective.annotations.annotated_share=0.5",
    "training.epochs=1",
    "training.batch_size=16",
    "training.freeze_batch_norm=true",
    "optimizer.lr=2e-4",  # with the recipe's 1e-3 the control's AUROC on the validation images fell from 0.76 to 0.50
)
VARIANTS = {
    # the same images, labels and order; 0 would be refused, and of a term that counts nothing cam is the cheapest
    "control": ("objective.annotations.weight=1e-9", "objective.annotations.explanation=cam"),
    "gradient": (),
    "cam": ("objective.annotations.explanation=cam",),
}
BEFORE = "before"
METHODS = ("cam", "saliency")


def main(root: Path, base: Path, out: Path, *variants: str) -> None:
    """Train what is not trained yet, score it, and write tables of it."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = variants or tuple(VARIANTS)
    splits = open_dataset("chestxray14", root, options=DATA)
    store = out / "annotations.db"
    if not store.is_file():
        import_annotations(None, store, splits["train"], annotator="radiologists")
    annotations = load_annotations(store, splits["train"])
    for variant in chosen:
        fine_tune(variant, splits, annotations, base, out)
    networks = {BEFORE: base} | {variant: out / variant for variant in chosen}
    for name, part in judged(splits).items():
        write_csv(out / "tables" / f"{name}.csv", score(part, networks, out))
    runs = {variant: RunFolder(out / variant).metrics() for variant in chosen}
    columns = ("epoch", "step", "loss", "loss_clean", "annotation_term", "validation_auroc", "seconds")
    training = [{"variant": v} | {c: _cell(row[c]) for c in columns} for v, epochs in runs.items() for row in epochs]
    write_csv(out / "tables" / "training.csv", training)


def fine_tune(variant: str, splits: Splits, annotations: AnnotationSet, base: Path, out: Path) -> None:
    """One network from the base."""
    recipe = starting_from(load_recipe("annotated", (*SETTINGS, *VARIANTS[variant]), fine_tuning=True), base)
    every = splits["train"]
    marked = set(annotations.image_ids)
    plain_rows = np.array([i for i, name in enumerate(every.ids) if name not in marked])
    others = np.random.default_rng(0).choice(plain_rows, OTHERS, replace=False)
    rows = sorted({*others.tolist(), *(i for i, name in enumerate(every.ids) if name in marked)})
    train(
        recipe,
        every.subset(rows),
        splits["validation"],
        out / variant,
        scorer=ValidationScorer(),
        device="cpu",
        resume=(out / variant).is_dir(),
        cache=out / "cache",
        annotations=annotations,
    )


def judged(splits: Splits) -> dict[str, Dataset]:
    """The images that tables are made of: of the other patients, of the base's validation part, and the marked ones."""
    train_part = get_split(splits, "train")
    assert train_part.regions is not None
    marked = train_part.subset(sorted({r.image for r in train_part.regions.items}))
    return {"test": splits["test"], "validation": splits["validation"], "marked": marked}


def score(data: Dataset, networks: dict[str, Path], out: Path) -> list[dict[str, object]]:
    """Classification and, where there are boxes, localisation of all networks, a row for each figure.

    Differences are from the network before and from the control, paired over patients.
    """
    shape = load_model(networks[BEFORE], "cpu").input_spec
    images = FittedImages(data, InputSpec.square(shape.channels, shape.height), out / "cache")
    methods, task = (), None
    if data.regions is not None:
        methods = METHODS
        task = localization_task(images, data.classes, name="boxes")
    logits, found = {}, {method: {} for method in methods}
    for name, folder in networks.items():
        classifier = load_model(folder, "cpu")
        kept = out / "scores" / data.fingerprint[:8] / name
        kept.mkdir(parents=True, exist_ok=True)
        if not (kept / "logits.npy").is_file():
            np.save(kept / "logits.npy", predict(classifier, images.pixels))
        logits[name] = [np.load(kept / "logits.npy")]
        for method in methods:
            path = kept / f"{method}.npz"
            if not path.is_file():
                write_arrays(path, arrays_of(score_explanations(classifier, task, method, boxes=False)))
            found[method][name] = [scores_of(read_arrays(path))]
    tables = []
    for reference in (BEFORE, "control"):
        rows = classification_rows(logits, data, Bootstrap(data.patients), reference)
        for method in methods:
            rows += localization_rows(found[method], task, method, Bootstrap(task.dataset.patients), reference)
        tables.append(rows)
    plain_rows = [plain(*pair) for pair in zip(*tables, strict=True)]
    if task is not None:
        plain_rows += [plain(row, row) for row in trivial_rows(task, Bootstrap(task.dataset.patients))]
    return plain_rows


def plain(over_before: Row, over_control: Row) -> dict[str, object]:
    """The cells of a figure that say something here, from its rows with one reference and the other."""
    values = over_before.to_json()
    cells = {k: _cell(values[k]) for k in ("section", "method", "metric", "class", "variant", "value", "low", "high")}
    for name, row in (("over_before", over_before), ("over_control", over_control)):
        difference = row.to_json()["difference"] or {}
        ends = difference.get("networks") or {}  # one training each: nothing is said of recipes
        cells |= {name: _cell(difference.get("value"))} | {f"{name}_{e}": _cell(ends.get(e)) for e in ("low", "high")}
    return cells | {"n": values["n"], "reason": _cell(values["reason"])}


def _cell(value: object) -> object:
    return "" if value is None else round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *sys.argv[4:])
