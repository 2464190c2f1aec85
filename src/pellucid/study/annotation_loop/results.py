"""The figures of an annotation loop: every one with its interval, its seeds and what it differs from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.evaluation.metrics.classification import auroc
from pellucid.evaluation.metrics.comparison import Row, compare
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.statistics import (
    Bootstrap,
    Replicates,
    interval_of_sum,
    join_reasons,
    mean_over_images,
)
from pellucid.evaluation.metrics.verdicts import Bar, judge_family
from pellucid.report.pages.annotation_loop import loop_metric
from pellucid.study.annotation_loop.conclusion import (
    aims,
    correct_aims,
    costs,
    lead,
    order_sentence,
    reach,
    summarize_loop,
)
from pellucid.study.annotation_loop.config import BASE
from pellucid.training.run import RunFolder, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.study.annotation_loop.measures import LoopData, Measured
    from pellucid.study.annotation_loop.session import AnnotationSequence
    from pellucid.study.config import StudyConfig
    from pellucid.study.runs import PlannedRun

GENERAL_LIMITS = (
    "The annotator is simulated: it knows the truth, never errs and draws tight rectangles. People do not.",
    "The images are drawn, and the shortcut is a letter in a corner: nothing here speaks of patients.",
    "The interval of a figure speaks of these networks on other images like these. Differences speak of other seeds "
    "too, where there are at least two.",
    "Painting over a region makes an image that is not like those the network was trained on.",
)


class LoopRun(NamedTuple):
    """One network of a loop: a seed, an arm, and how many marked images it was trained with."""

    seed: int
    arm: str
    number: int

    @property
    def name(self) -> str:
        """What it is called beside networks of the same seed."""
        return self.arm if self.arm == BASE else f"{self.arm}, {self.number}"


def loop_runs(study: StudyConfig) -> list[LoopRun]:
    """Every network of a loop: those that cheat, and what each arm makes of them with each number of marked images."""
    loop = study.loop
    assert loop is not None
    trained = [LoopRun(s, arm.label, n) for s in study.seeds for n in loop.numbers for arm in loop.arms]
    return [*(LoopRun(seed, BASE, 0) for seed in study.seeds), *trained]


def figures(study: StudyConfig, data: LoopData, measured: Measured) -> dict[str, Replicates]:
    """Every figure of one network, in every resample of the images."""
    resamples = study.evaluation.resamples
    test, telling, shortcut = data.test.test, data.telling, data.shortcut
    over_test = Bootstrap(test.patients, resamples)
    over_telling = Bootstrap(telling.patients, resamples, seed=1)  # other patients: drawn independently
    over_shown = Bootstrap(shortcut.dataset.patients, resamples)
    logits, column = measured.evaluation.logits, shortcut.output
    without = auroc(logits[:, column], test.targets[:, column], over_test)
    with_marker = auroc(measured.telling[:, column], telling.targets[:, column], over_telling)
    others = [auroc(logits[:, k], test.targets[:, k], over_test) for k in range(logits.shape[1]) if k != column]
    by_name = {
        "auroc_without": without,
        "auroc_with": with_marker,
        "auroc_gap": _independent(with_marker, without),
        "auroc_others": Replicates.mean(others),
    }
    for (method, place), values in measured.shares.items():
        by_name[f"{method}_{place}"] = mean_over_images(values, over_shown, within=(0, 1))
    for place, values in measured.effects.items():
        by_name[f"effect_{place}"] = mean_over_images(values, over_shown)
    if study.evaluation.ara.kinds:
        from pellucid.evaluation.robustness.ara_summary import areas_of  # needs a Unix

        over_measured = Bootstrap(data.test.measured.patients, resamples)
        for kind, radii in measured.evaluation.radii.items():
            areas = areas_of(radii, data.test.measured, over_measured)
            by_name[f"ara_{kind}"] = areas.overall.replicates
            by_name[f"ara_{kind}_finding"] = areas.labels[test.classes[column]].replicates
    return by_name


def loop_results(
    study: StudyConfig,
    data: LoopData,
    measured: Mapping[LoopRun, Measured],
    *,
    sessions: Mapping[tuple[int, str], AnnotationSequence],
    runs: Mapping[LoopRun, PlannedRun],
) -> dict[str, Any]:
    """All of a loop's results, as the report and results.json take them.

    Args:
        study: its configuration.
        data: what the networks were judged on.
        measured: by network.
        sessions: by seed and acquisition.
        runs: by network.
    """
    loop = study.loop
    assert loop is not None
    whole = data.test.whole
    return {
        "format": 2,
        "kind": "annotation loop",
        "name": study.name,
        "title": study.title,
        "description": study.description.strip(),
        "cost": study.cost,
        "seeds": list(study.seeds),
        "versions": versions(),
        "data": {
            "name": whole.card.name,
            "options": study.data.options,
            "seed": study.data.seed,
            "finding": data.test.test.classes[data.shortcut.output],
            "fingerprint": whole.fingerprint,
            "images": {
                "test": len(data.test.test),
                "telling": len(data.telling),
                "shown": len(data.shortcut.images),
                "ara": len(data.test.measured) if study.evaluation.ara.kinds else 0,
            },
        },
        "base": BASE,
        "control": loop.control.label,
        "arms": [arm.model_dump() for arm in loop.arms],
        "numbers": list(loop.numbers),
        "methods": list(study.evaluation.methods),
        "settings": {
            "variant": study.variants[0].model_dump(mode="json"),
            "all": study.settings,
            "loop": _settings(runs),
        },
        **judge_loop(study, data, measured),
        "sessions": [
            {"seed": seed, "acquisition": order, "number": n, "looked_at": session.looked_at[n - 1]}
            for (seed, order), session in sessions.items()
            for n in loop.numbers
        ],
        "runs": [_run(loop_run, run) for loop_run, run in runs.items()],
        "alarms": [
            f"{loop_run.name}, seed {loop_run.seed}, {kind}: {message}"
            for loop_run, one in measured.items()
            for kind, message in one.evaluation.alarms.items()
        ],
        "training_images": [
            {**loop_run._asdict(), "part": part, **seen_images.to_json()}
            for loop_run, one in measured.items()
            for part, seen_images in one.evaluation.training_images.items()
        ],
        "limits": [*study.limits, *_seen_limits(measured), *GENERAL_LIMITS],
    }


def judge_loop(study: StudyConfig, data: LoopData, measured: Mapping[LoopRun, Measured]) -> dict[str, Any]:
    """What statistics say of a loop: every figure and difference, the aims, and the sentences about them.

    Args:
        study: its configuration.
        data: what the networks were judged on.
        measured: by network.
    """
    loop = study.loop
    assert loop is not None
    replicates_at: dict[tuple[str, int], dict[str, list[Replicates]]] = {}
    for loop_run, one in measured.items():
        place = replicates_at.setdefault((loop_run.arm, loop_run.number), {})
        for metric, replicates in figures(study, data, one).items():
            place.setdefault(metric, []).append(replicates)
    reached = correct_aims([reach(replicates_at, aim, study, arm.label) for arm in loop.marking for aim in aims(study)])
    rows, orders = _rows(replicates_at, loop.control.label, study), _orders(replicates_at, study)
    arms, aimed = [arm.label for arm in loop.marking], [aim.metric for aim in aims(study)]
    worse = costs(rows, arms, loop.aim, loop.control.label, aimed)
    return {
        "resamples": study.evaluation.resamples,
        "aim": loop.aim,
        "rows": rows,
        "orders": orders,
        "aims": reached,
        "lead": [*lead(reached, loop.aim), *worse],
        "conclusion": [
            *summarize_loop(reached, loop.aim),
            *worse,
            *(order_sentence(one) for one in orders if one["number"] == loop.aim),
        ],
    }


def _seen_limits(measured: Mapping[LoopRun, Measured]) -> list[str]:
    """Which of the images that figures rest on the networks have seen before, a sentence each."""
    named = {"test": "Test images", "telling": "Images whose marker tells"}
    parts = [
        (name, replace(one.evaluation.training_images[name], model="a network"))
        for one in measured.values()
        for name in named
    ]
    return list(
        dict.fromkeys(f"{named[name]}: {message}" for name, seen_images in parts for message in seen_images.messages())
    )


def _orders(
    replicates: Mapping[tuple[str, int], Mapping[str, list[Replicates]]], study: StudyConfig
) -> list[dict[str, Any]]:
    """How the first arm with marks differs from the others with marks, whose images came in another order."""
    loop = study.loop
    assert loop is not None
    first, *others = (arm.label for arm in loop.marking)
    orders = [
        {
            "arm": first,
            "other": other,
            "number": n,
            "metric": aim.metric,
            "difference": paired_difference(
                replicates[first, n][aim.metric], replicates[other, n][aim.metric], shared=True
            ).to_json(),
        }
        for other in others
        for n in loop.numbers
        for aim in aims(study)
    ]
    _judge(orders, "difference", "exploratory, order of the images", study)
    return orders


def _judge(rows: Sequence[dict[str, Any]], field: str, family: str, study: StudyConfig) -> None:
    """Corrected p values and verdicts of the differences that the rows hold under `field`: one family.

    AUROC and the gap between two have the study's margin for AUROC, shares of heat and effects none.
    """
    compared = [row for row in rows if row[field] is not None]
    margin = study.conclusions.margin["auroc"]
    bars = [
        Bar(loop_metric(row["metric"]).better, margin if row["metric"].startswith("auroc") else 0.0) for row in compared
    ]
    for row, judged in zip(compared, judge_family([row[field] for row in compared], bars, family), strict=True):
        row[field] = judged


def _independent(a: Replicates, b: Replicates) -> Replicates:
    """The difference of figures of different patients, whose draws have nothing to do with each other."""
    reason = join_reasons(a.reason, b.reason)
    key, interval, lacking = f"{a.key}, {b.key}", interval_of_sum([a], [b]), join_reasons(a.lacking, b.lacking)
    return Replicates(a.value - b.value, a.samples - b.samples, min(a.n, b.n), reason, key, interval, lacking)


def _rows(
    replicates: Mapping[tuple[str, int], Mapping[str, list[Replicates]]], control: str, study: StudyConfig
) -> list[dict[str, Any]]:
    """One row per figure and network, with the differences from the cheating network and from the control."""
    rows = []
    numbers = sorted({n for arm, n in replicates if arm != BASE})
    for metric in replicates[BASE, 0]:
        base = replicates[BASE, 0][metric]
        before = Row.blank("loop", metric, "", at="0")
        rows += [row.to_json() | {"against_control": None} for row in compare(before, {BASE: base}, None)]
        for n in numbers:
            place = Row.blank("loop", metric, "", at=str(n))
            arms = {arm: values[metric] for (arm, count), values in replicates.items() if count == n and arm != BASE}
            against_base = [r for r in compare(place, {**arms, BASE: base}, BASE, shared=True) if r.variant != BASE]
            against_control = compare(place, arms, control, shared=True)
            rows += [
                one.to_json() | {"against_control": other.to_json()["difference"]}
                for one, other in zip(against_base, against_control, strict=True)
            ]
    _judge(rows, "difference", f"exploratory, from {BASE}", study)
    _judge(rows, "against_control", f"exploratory, from {control}", study)
    return rows


def _settings(runs: Mapping[LoopRun, PlannedRun]) -> dict[str, Any]:
    recipe = next(run.recipe for loop_run, run in runs.items() if loop_run.arm != BASE)
    return recipe.model_dump(mode="json", exclude={"name", "title", "citation", "notes", "model"})


def _run(loop_run: LoopRun, run: PlannedRun) -> dict[str, Any]:
    history = RunFolder(run.folder).metrics()
    return {
        **loop_run._asdict(),
        "folder": f"runs/{run.folder.name}",
        "recipe": run.recipe.name,
        "annotations": RunFolder(run.folder).read().get("annotations"),
        "steps": history[-1]["step"] if history else 0,
        "seconds": sum(row.get("seconds") or 0.0 for row in history),
        "history": history,
    }
