"""A made-up study in the form that `write_report` takes: three recipes, two targets, eight findings."""

from __future__ import annotations

import math

import numpy as np

from pellucid.evaluation.metrics.differences import Difference, Inference
from pellucid.evaluation.metrics.verdicts import Bar, judge_family
from pellucid.report import Panel, render
from pellucid.report.tables.metrics import metric as metric_of
from pellucid.types import Box

CLASSES = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
]
VARIANTS = ["baseline", "robust ε 0.005", "robust ε 0.01"]
METHODS = ["cam", "grad-cam", "saliency"]
GAIN = dict(zip(VARIANTS, (0.0, 0.05, 0.02), strict=True))
SHARP = "Nodule"  # a class whose small differences are certain, with no margin stated
NO_POSITIVES = "no image of the test part shows it"
NO_MASS = "no mass is marked in this dataset"
EVERYTHING = [*CLASSES, "mean"]


class Maker:
    """Rows with values around what is asked for, intervals, three seeds and differences from the baseline."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.rows = []

    def add(self, section, metric, variant, base, *, gain=0.0, width=0.02, n=460, cls="mean", top=1.0, **where):
        center = float(np.clip(base + gain, 0, top))
        seeds = [float(np.clip(center + s, 0, top)) for s in self.rng.normal(0, width / 3, 3)]
        value = float(np.mean(seeds))
        place = {"target": "", "method": "", "gate": "", "at": "", "threshold": None} | where
        row = {"section": section, "metric": metric, "class": cls, "variant": variant, **place}
        row |= {"value": value, "low": max(0, value - width), "high": min(top, value + width)}
        row |= {"n": n, "reason": None, "seeds": seeds, "seed_spread": float(np.std(seeds, ddof=1))}
        row["difference"] = None
        if variant and variant != VARIANTS[0]:
            change = value - base
            networks = Inference.even(change, 0.35 * width)
            questions = [networks, Inference.even(change, 0.5 * width, [((0.5 * width) ** 2, 6)])]
            row["difference"] = Difference(change, n, *questions).to_json()
        self.rows.append(row)
        return row

    def undefined(self, section, metric, variant, cls, reason, **where):
        row = self.add(section, metric, variant, 0.5, cls=cls, **where)
        nothing = {"value": None, "low": None, "high": None, "n": 0, "reason": reason, "seeds": [None] * 3}
        row.update(nothing, seed_spread=None)
        if row["difference"]:
            question = Inference(math.nan, reason=reason)
            row["difference"] = Difference(math.nan, 0, question, question, reason).to_json()


def classify(make):
    level = dict(zip(EVERYTHING, (0.81, 0.92, 0.88, 0.70, 0.83, 0.74, 0.76, 0.86, 0.812), strict=True))
    for variant in VARIANTS:
        for cls in EVERYTHING:
            for metric, shift in (("auroc", 0.0), ("average_precision", -0.5)):
                if cls == "Pneumonia":
                    make.undefined("classification", metric, variant, cls, NO_POSITIVES)
                    continue
                width = 1e-4 if cls == SHARP else 0.025
                where = {"gain": -0.3 * GAIN[variant], "width": width, "n": 1200, "cls": cls}
                row = make.add("classification", metric, variant, level[cls] + shift, **where)
                if metric == "auroc" and cls != "mean" and row["difference"]:
                    row["difference"]["networks"]["p_delong"] = 0.0137


def attack(make):
    for variant in VARIANTS:
        for size, at in enumerate(("0", "L∞ 0.0025", "L∞ 0.005", "L∞ 0.01")):
            gain = 0.0 if variant == VARIANTS[0] else 0.15 * size
            for metric, clean in (("accuracy", 0.86), ("auroc", 0.81)):
                make.add("robustness", metric, variant, clean - 0.19 * size, gain=gain, n=1200, at=at)


def localize(make):
    base = {"pointing": 0.42, "energy_share": 0.17, "energy_ratio": 1.9, "auprc": 0.24}
    base |= {"effective_heat_ratio": 0.21, "otsu_iou": 0.19}
    for target, n, shift in (("phantom", 460, 0.0), ("lesions", 96, -0.04)):
        for metric, middle in base.items():
            scale = 8 if metric == "energy_ratio" else 1
            for number, cls in enumerate(EVERYTHING):
                level = middle + scale * (shift + 0.02 * (number % 3 - 1))
                width = scale * (0.03 if cls == "mean" else 0.07) * (1 if target == "phantom" else 2)
                where = {"target": target, "cls": cls, "top": scale, "width": width}
                where["n"] = n if cls == "mean" else n // 8
                for method, worth in (("cam", 0.0), ("grad-cam", -0.01), ("saliency", -0.06)):
                    for variant in VARIANTS:
                        if target == "lesions" and cls == "Mass":
                            place = {"target": target, "method": method}
                            make.undefined("localization", metric, variant, cls, NO_MASS, **place)
                            continue
                        told = {**where, "gain": 1.6 * GAIN[variant] * scale, "method": method}
                        make.add("localization", metric, variant, level + worth * scale, **told)
                for name, share in (("uniform", 0.45), ("centred", 0.7), ("mean box", 1.15)):
                    row = make.add("localization", metric, "", level * share, method=f"trivial: {name}", **where)
                    row.update(seeds=[], seed_spread=None)


def draw_boxes(make):
    bounds = [f"IoBB > {b}" for b in (0.1, 0.25, 0.5, 0.75, 0.9)] + [f"IoU > 0.{b}" for b in range(1, 8)]
    for gate in ("annotated", "predicted"):
        for method in METHODS:
            for variant in VARIANTS:
                gain = GAIN[variant]
                for cls in EVERYTHING:
                    where = {"target": "phantom", "method": method, "gate": gate, "cls": cls}
                    for number, at in enumerate(bounds):
                        hit = max(0.02, 0.62 - 0.12 * (number if number < 5 else number - 4.5))
                        make.add("wang", "accuracy", variant, hit, gain=gain, at=at, **where)
                        make.add("wang", "afp", variant, 1.1 - hit / 2, gain=-gain, top=9, at=at, **where)
                    make.add("wang", "mean_box_area", variant, 0.19, gain=-gain, width=0.01, **where)
                    make.add("wang", "boxes_per_map", variant, 1.6, gain=-gain, width=0.1, top=9, **where)


def cut(make):
    for method in METHODS:
        for variant in VARIANTS:
            gain = GAIN[variant]
            for threshold in range(20, 241, 20):
                where = {"target": "phantom", "method": method, "gate": "annotated", "threshold": float(threshold)}
                for at, share in (("IoBB > 0.1", 1), ("IoU > 0.1", 0.7)):
                    hit = share * 0.6 * np.exp(-(((threshold - 110) / 90) ** 2))
                    make.add("sweep", "accuracy", variant, hit, gain=gain, at=at, **where)
                    make.add("sweep", "afp", variant, 1.2 - hit, gain=-gain, top=9, at=at, **where)
                area = 0.8 * np.exp(-threshold / 60)
                make.add("sweep", "mean_box_area", variant, area, gain=-gain / 5, width=0.008, **where)


def rows():
    make = Maker()
    for part in (classify, attack, localize, draw_boxes, cut):
        part(make)
    compared = [row for row in make.rows if row["difference"]]
    bars = [Bar(metric_of(row["metric"]).better) for row in compared]
    judged = judge_family([row["difference"] for row in compared], bars, "exploratory")
    for row, difference in zip(compared, judged, strict=True):
        row["difference"] = difference
    return make.rows


def variants():
    found = []
    for index, label in enumerate(VARIANTS):
        robust = index > 0
        runs = []
        for seed in range(3):
            rng = np.random.default_rng(100 * index + seed)
            history = []
            for epoch in range(1, 13):
                clean = 0.7 * np.exp(-epoch / 5) + 0.25 + float(rng.normal(0, 0.01))
                one = {
                    "epoch": epoch,
                    "loss": clean,
                    "loss_clean": clean,
                    "seconds": 7.1,
                    "validation_auroc": 0.84 - 0.25 * np.exp(-epoch / 4) + float(rng.normal(-0.01 * index, 0.006)),
                    "validation_accuracy": 0.88 - 0.2 * np.exp(-epoch / 4),
                }
                if robust:
                    one["loss_adversarial"] = clean + 0.1 + 0.05 * index
                    one["loss"] = (clean + one["loss_adversarial"]) / 2
                history.append(one)
            best = max(history, key=lambda e: e["validation_auroc"])["epoch"]
            runs.append(
                {
                    "seed": seed,
                    "folder": f"runs/{label.split()[0]}-{index}-seed{seed}",
                    "best_epoch": best,
                    "epochs": 12,
                    "seconds": 88.1 + 60 * index,
                    "history": history,
                }
            )
        size = (0.0, 0.005, 0.01)[index]
        attack = {"method": "fgsm", "size": {"linf": size}, "random_start": True} if robust else None
        found.append(
            {
                "label": label,
                "reference": not robust,
                "recipe": "khakzar2019-robust" if robust else "khakzar2019-baseline",
                "title": "Adversarial images in half of the loss (FGSM)" if robust else "Weighted cross entropy alone",
                "citation": "Khakzar, Albarqouni & Navab, MICCAI 2019",
                "notes": "The paper names neither attack nor size; the values here are ours.\n" if robust else "",
                "settings": {
                    "model": {"name": "densenet121", "channels": 1, "output_stride": 16},
                    "objective": {"loss": "weighted-cross-entropy", "mix": 0.5 if robust else 1.0, "attack": attack},
                    "optimizer": {"name": "adamw", "learning_rate": 3e-4, "weight_decay": 0.0001, "schedule": "cosine"},
                    "augmentation": {"flip": False, "shift": 0.05, "rotate": 5.0},
                    "batch_size": 64,
                    "epochs": 12,
                    "seeds": [0, 1, 2],
                },
                "runs": runs,
            }
        )
    return found


def results():
    """A whole study, as it would be written to results.json."""
    fingerprints = {
        part: f"{hash_}{'0123456789abcdef' * 3}"
        for part, hash_ in (("train", "a91f"), ("validation", "77c0"), ("test", "e2d4"))
    }
    sizes = {"train": (4000, 3100), "validation": (600, 480), "test": (1200, 950)}
    return {
        "format": 2,
        "primary": ["classification auroc mean"],
        "margins": {"auroc": 0.01},
        "name": "demo",
        "title": "Does robust training move explanations onto the findings?",
        "description": "Two robust recipes and their baseline learn eight findings of procedural chest radiographs. "
        "Their heat maps are compared with the exact regions of the findings.\n\n"
        "Made-up figures, for looking at the page.",
        "command": "pellucid demo --out runs/demo --device cpu --seed 0",
        "created": "2026-07-14T09:26:53+00:00",
        "device": "CPU, 2 cores",
        "seconds": 271.4,
        "versions": {
            "pellucid": "0.1.0",
            "python": "3.11.9",
            "torch": "2.13.0",
            "numpy": "2.3.1",
            "scikit-learn": "1.7.0",
        },
        "seeds": [0, 1, 2],
        "resamples": 1000,
        "data": {
            "name": "phantom",
            "title": "Procedural chest radiographs",
            "citation": "The Pellucid contributors.",
            "licence": "Apache-2.0",
            "url": "https://example.org/phantom",
            "task": "multilabel",
            "classes": CLASSES,
            "options": {"size": 128, "contrast": 1.0, "shortcuts": {}},
            "split_hash": "5be1" * 16,
            "parts": {
                part: {"images": n, "patients": p, "fingerprint": fingerprints[part]} for part, (n, p) in sizes.items()
            },
        },
        "variants": variants(),
        "targets": [
            {
                "name": "phantom",
                "title": "the phantom’s exact masks",
                "images": 400,
                "patients": 380,
                "pairs": 460,
                "kind": "masks",
                "regions": {c: [c] for c in CLASSES},
                "citation": "",
            },
            {
                "name": "lesions",
                "title": "radiologists’ lesion masks",
                "images": 90,
                "patients": 84,
                "pairs": 96,
                "kind": "masks",
                "regions": {"Pneumonia": ["consolidation", "ground_glass"]},
                "citation": "Somebody et al., Scientific Data 2021",
            },
        ],
        "methods": METHODS,
        "rows": rows(),
        "comparators": [
            {
                "section": "classification",
                "metric": "auroc",
                "at": "",
                "name": "Wang et al. 2017",
                "values": {c: 0.68 + 0.02 * i for i, c in enumerate(CLASSES)},
                "note": "ResNet-50, the published split.",
            },
            {
                "section": "wang",
                "metric": "accuracy",
                "at": "IoBB > 0.1",
                "name": "Wang et al. 2017",
                "values": {"Cardiomegaly": 0.9931, "Nodule": 0.1645},
                "note": "",
            },
            {
                "section": "wang",
                "metric": "afp",
                "at": "IoBB > 0.1",
                "name": "Wang et al. 2017",
                "values": {"Cardiomegaly": 0.3506, "Nodule": 0.6047},
                "note": "",
            },
        ],
        "conclusion": [
            "Robust training improved CAM on the phantom: the pointing game rose by 0.08 with robust ε 0.005, "
            "and its interval excludes 0.",
            "Mean AUROC fell by 0.015; under attack (L∞ 0.0025) accuracy rose from 0.67 to 0.82.",
        ],
        "limits": [
            "The radiographs are procedural: a gain here need not appear on images of patients.",
            "Intervals cover the choice of test patients, not the choice of training images.",
            "A map inside a region does not show that the network used the region for the right reason.",
        ],
    }


def page():
    """The whole study as a page."""
    return render(results(), panels())


def panels(count=6, size=128):
    """Cases with a blurred chest, one box each, one with a mask, and maps that find it more or less."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:size, :size] / size
    chosen = []
    for index in range(count):
        lungs = sum(np.exp(-(((x - cx) / 0.13) ** 4 + ((y - 0.5) / 0.3) ** 4)) for cx in (0.3, 0.7))
        cx, cy = rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.7)
        spot = np.exp(-(((x - cx) / 0.07) ** 2 + ((y - cy) / 0.07) ** 2))
        image = 150 - 95 * lungs + 60 * spot + 6 * np.sin(y * 60) * lungs + rng.normal(0, 5, (size, size))
        maps = {}
        for variant in VARIANTS:
            off = 0.12 * (1 - 12 * GAIN[variant])
            near = np.exp(-(((x - cx - off) / 0.16) ** 2 + ((y - cy) / 0.16) ** 2))
            maps[variant, "cam"] = near - 0.2
            maps[variant, "grad-cam"] = np.maximum(near - 0.3, 0)
            maps[variant, "saliency"] = np.abs(rng.normal(0, 1, (size, size))) * (0.15 + near)
        target = "phantom" if index < 4 else "lesions"
        best = index % 4 < 2
        chosen.append(
            Panel(
                image=np.clip(image, 0, 255).astype(np.uint8),
                boxes=[Box(size * (cx - 0.1), size * (cy - 0.1), size * 0.2, size * 0.2)]
                if target == "phantom"
                else [],
                mask=spot > 0.4 if target == "lesions" else None,
                maps=maps,
                target=target,
                class_name=CLASSES[(3 * index) % 8],
                image_id=f"image-{17 * index + 3:05d}",
                rule=f"{'Best' if best else 'Worst'} 2 of {460 if target == 'phantom' else 96} by the mean AUPRC "
                "of CAM over all recipes and seeds.",
                score=f"mean AUPRC {0.81 - 0.13 * index:.2f}",
                probabilities=dict(zip(VARIANTS, (0.91, 0.83, 0.4), strict=True)),
            )
        )
    return chosen
