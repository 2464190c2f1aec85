"""The finished runs of a study, a small file each: a later sitting goes on from them, without the networks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.models.weights import read_model_card
from pellucid.study.evaluation import RULES, evaluate_run
from pellucid.study.kept.run_arrays import about_run, run_arrays, run_of
from pellucid.training.recipe import Recipe
from pellucid.training.run import RunFolder
from pellucid.types import InputError
from pellucid.utils.digests import digest
from pellucid.utils.resources import finite
from pellucid.utils.results_store import ResultsStore
from pellucid.utils.settings import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.study.config import EvaluationSettings
    from pellucid.study.context import StudyContext
    from pellucid.study.evaluation_data import EvaluationData, RunEvaluation
    from pellucid.study.runs import PlannedRun

FOLDER = "finished"
WORDS = {"name", "title", "citation", "notes", "fine_tuning"}
"""What of a recipe changes nothing in a training that is planned."""
FIRST_RULES = dict.fromkeys(RULES, 1)
"""Those of a file that does not say by which it was measured."""


@dataclass(frozen=True)
class FinishedRun:
    """A network that was trained and judged.

    Attributes:
        record: of its training, in plain values; see `record_of`.
        evaluation: what it gave.
    """

    record: dict[str, Any]
    evaluation: RunEvaluation


class FinishedRuns:
    """The files of a study's finished runs: written as soon as a run is judged, read by whoever goes on.

    Args:
        context: of the study.
        data: by fold (None where there are none), what its networks are judged on.
    """

    def __init__(self, context: StudyContext, data: Mapping[int | None, EvaluationData]) -> None:
        self.context, self.data = context, data
        self.store = ResultsStore(context.out / FOLDER)
        self.labels = {variant.label for variant in context.study.variants}

    def path(self, run: PlannedRun) -> Path:
        """The file of a run."""
        return self.store.folder / f"{run.folder.name}.npz"

    def unfinished(self) -> list[PlannedRun]:
        """The runs of the variants that are to be trained, or whose networks are here and looked at again."""
        return [run for run in self.context.runs if run.folder.is_dir() or self.read(run) is None]

    def judge(self, run: PlannedRun) -> None:
        """Judge a network that was trained, and keep what it gave; a base that is no variant is not judged."""
        if run.label not in self.labels or self.read(run) is not None:
            return
        study, context = self.context.study, self.context
        evaluation = evaluate_run(
            study.evaluation, run, self.data[run.fold], context.evaluations(run), context.resolved_device
        )
        about = {"format": 1, "key": self._key(run), "record": record_of(run), "evaluation": about_run(evaluation)}
        text = np.array(json.dumps(finite(about)))
        self.store.write(run.folder.name, {"about": text, **run_arrays(evaluation, "run")})

    def finished(self, run: PlannedRun) -> FinishedRun:
        """A run that was judged.

        Raises:
            InputError: there is none such.
        """
        stored = self.read(run)
        if stored is None:
            raise InputError(f"{self.path(run)} is gone: run the study again.")
        return stored

    def read(self, run: PlannedRun) -> FinishedRun | None:
        """What is kept of a run; None where that is nothing, or was found in another way or of other weights.

        Raises:
            InputError: it is of another training, with another recipe, seed or data.
        """
        path, arrays = self.path(run), self.store.read(run.folder.name)
        if arrays is None:
            return None
        about = json.loads(str(arrays["about"]))
        self._check(run, about, path)
        if about["key"]["evaluation"] != _digest_of(self.context.study.evaluation):
            return None
        if about["key"].get("rules", FIRST_RULES) != RULES:
            return None
        if run.folder.is_dir() and about["record"]["weights_sha256"] != _weights(run):
            return None
        return FinishedRun(about["record"], run_of(about["evaluation"], "run", arrays))

    def _check(self, run: PlannedRun, about: Mapping[str, Any], path: Path) -> None:
        key, own = about["key"], self._key(run)
        differing = [name for name in ("seed", "fold", "limit", "data") if key[name] != own[name]]
        there = [_plain(validate(Recipe, values, str(path))) for values in key["recipes"]]
        differing += ["recipe"] if there != [_plain(recipe) for recipe in _recipes(run)] else []
        if differing:
            raise InputError(
                f"{path} is of another training of {run.label} ({', '.join(differing)} differ): choose another --out, "
                "or delete it to have it trained again."
            )

    def _key(self, run: PlannedRun) -> dict[str, Any]:
        """Everything that determines what a run gives, and the rules by which it was measured."""
        return {
            "recipes": [recipe.model_dump(mode="json") for recipe in _recipes(run)],
            "seed": run.seed,
            "fold": run.fold,
            "limit": self.context.limit,
            "data": {name: part.fingerprint for name, part in self.context.parts_of(run.fold).items()},
            "evaluation": _digest_of(self.context.study.evaluation),
            "rules": RULES,
        }


def record_of(run: PlannedRun) -> dict[str, Any]:
    """A training in plain values, as results.json has it: how it went, what it started from, and how long all took."""
    folder = RunFolder(run.folder)
    card = read_model_card(run.folder)
    history = folder.metrics()
    seconds = sum(row.get("seconds") or 0.0 for row in history)
    base = None if run.base is None else record_of(run.base)
    fold = {} if run.fold is None else {"fold": run.fold}
    resolved = folder.read()["recipe"]
    if run.base is not None:  # in the study's folder, wherever that lies
        weights = f"runs/{run.base.folder.name}/{Path(resolved['model']['pretrained']).name}"
        resolved = resolved | {"model": resolved["model"] | {"pretrained": weights}}
    return {
        "seed": run.seed,
        **fold,
        "folder": f"runs/{run.folder.name}",
        "weights_sha256": card["weights_sha256"],
        "best_epoch": card.get("epoch"),
        "epochs": len(history),
        "seconds": seconds,
        "seconds_with_bases": seconds + (base["seconds_with_bases"] if base else 0.0),
        "base": None if base is None else {key: base[key] for key in ("folder", "best_epoch", "epochs", "seconds")},
        "history": history,
        "resolved": resolved,
    }


def _weights(run: PlannedRun) -> str | None:
    return read_model_card(run.folder)["weights_sha256"] if (run.folder / "model.toml").is_file() else None


def _recipes(run: PlannedRun) -> list[Recipe]:
    return [*([] if run.base is None else _recipes(run.base)), run.recipe]


def _plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude=WORDS)


def _digest_of(settings: EvaluationSettings) -> str:
    """Of what determines the figures of a network."""
    areas = settings.ara.model_copy(update={"matched": ()})
    parts = (settings.methods, settings.box_methods, settings.robustness, areas, settings.targets)
    return digest(repr(parts).encode())[:16]
