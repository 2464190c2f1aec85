"""What `discover` found: the suspects in order of their share, on disk and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pellucid.evaluation.discovery.suspect import Suspect
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.types import InputError
from pellucid.utils.csv_table import write_csv
from pellucid.utils.digests import damaged, read_arrays, write_arrays
from pellucid.utils.download import digest_of
from pellucid.utils.resources import finite, whole_file, write_json
from pellucid.utils.result import Result, Table
from pellucid.utils.words import figure_text, number_of, whole_percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

AREAS = {"before": "{:.3f}".format, "now": "{:.3f}".format, "change": "{:+.3f}".format}
SETS = ("with_it", "without", "apart", "usual", "neutralised", "change")
JSON, ARRAY_FILE = "suspects.json", "suspects.npz"
FORMAT = 10  # 7: without features of the image; 8: what they add from pairs of images; 9: on half of the images


@dataclass(frozen=True, eq=False, repr=False)
class Discovery(Result):
    """What a classifier goes by on many images.

    Attributes:
        suspects: in order: those that nobody marked, by their share, and after them those that are expected.
        about: model, data, part, fingerprint, and the key of the network.
        classes: of the classifier.
        ids: of the N images.
        settings: what was spent, and where the line is drawn.
        counts: `forward_passes`, `candidates` (looked at), `tested` (pairs of candidate and
            class), and by class `positives` and `negatives`.
        unanswered: by class, why nothing can be said of it.
        notes: what a reader must know.
        pictures: uint8 or uint16 (C, H, W) of the images that suspects name.
        comparison: what became of another discovery's suspects (see `compare_discoveries`); None without one.
        odds: float64 (N, K), the log-odds that the network gives; None where they were not kept.
    """

    name: ClassVar[str] = "suspects"
    suspects: Sequence[Suspect]
    about: Mapping[str, Any]
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    settings: Mapping[str, Any]
    counts: Mapping[str, Any]
    unanswered: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pictures: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    comparison: Mapping[str, Any] | None = None
    odds: npt.NDArray[np.float64] | None = None

    @property
    def unexpected(self) -> list[Suspect]:
        """Those that do not lie where people marked the finding; last, those that no intervention confirmed."""
        return [suspect for suspect in self.suspects if not suspect.expected]

    @property
    def unconfirmed(self) -> list[Suspect]:
        """Of the unexpected ones those whose exchange did not move the network as it should."""
        return [suspect for suspect in self.unexpected if suspect.confirmed is False]

    @property
    def headline(self) -> str:
        """The whole in one sentence."""
        count, few = len(self.unexpected) - len(self.unconfirmed), len(self.unconfirmed)
        go = "goes" if few == 1 else "go"
        more = f" {few} more {go} with a class, but the intervention did not confirm it." if few else ""
        if not count:
            images = number_of(len(self.ids), "image(s)")
            return f"In {images} we found no cue that the model relies on and nobody marked.{more}"
        first = self.unexpected[0]
        one = "1 suspect" if count == 1 else f"{count} suspects, the one with the largest share"
        share = _text(first.effects[0].share, whole_percent)
        return f"{one}: {first.name}, for {first.class_name}, with {share} of the answer.{more}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per suspect and class that it moves."""
        return [
            {
                "suspect": suspect.number,
                "kind": suspect.kind,
                "name": suspect.name,
                "expected": suspect.expected,
                "class": effect.class_name,
                **_ends("share", effect.share),
                **_ends("taken_away", effect.taken_away),
                "p_taken_away": _value(effect.p_taken),
                **_ends("put_in", effect.put_in),
                "p_put_in": _value(effect.p_put),
                **_ends("prevalence", suspect.prevalence),
                **_in_class(suspect, effect.class_name),
                "p": _value(effect.p),
                "p_corrected": _value(effect.p_corrected),
                "confirmed": suspect.confirmed,
                "n": effect.share.n,
                "reason": effect.share.reason or suspect.reason,
            }
            for suspect in self.suspects
            for effect in suspect.effects
        ]

    @property
    def consequence_rows(self) -> list[dict[str, Any]]:
        """One record per suspect and figure: with it, without it, as it is, and with it taken away."""
        return [
            {
                "suspect": suspect.number,
                "name": suspect.name,
                "class": one.class_name,
                "metric": one.metric,
                **{key: value for part in SETS for key, value in _ends(part, getattr(one, part), counted=True).items()},
                "p_apart": _value(one.p_apart),
                "p_change": _value(one.p_change),
            }
            for suspect in self.suspects
            for one in suspect.consequences
        ]

    def to_json(self) -> dict[str, Any]:
        """What `suspects.json` holds, but for the digest of the arrays beside it."""
        plain: dict[str, Any] = finite(
            {
                "format": FORMAT,
                "name": self.name,
                "headline": self.headline,
                "about": dict(self.about),
                "classes": self.classes,
                "settings": dict(self.settings),
                "counts": dict(self.counts),
                "unanswered": dict(self.unanswered),
                "notes": list(self.notes),
                "suspects": [suspect.to_json() for suspect in self.suspects],
                "comparison": self.comparison,
                "ids": self.ids,
            }
        )
        return plain

    def tables(self) -> list[Table]:
        """One row per suspect, and what became of another discovery's."""
        columns = ["suspect", "class", "share of the answer", "images", "taken away", "put in", "p"]
        tables = [Table(self.headline, columns, [_line(suspect) for suspect in self.suspects])]
        if self.comparison is not None:
            lines = [[str(one[key]) for key in ("name", "class", "verdict")] for one in self.comparison["suspects"]]
            title = "What became of the suspects of before" if lines else "No suspect was found before"
            tables.append(Table(title, ["suspect", "class", "now"], lines))
            changes = [
                [str(one["class"]), *(_text(Estimate.from_json(one[key]), text) for key, text in AREAS.items())]
                for one in self.comparison["auroc"]
            ]
            if changes:
                title = "What changed: AUROC of both networks on the same images"
                tables.append(Table(title, ["class", *AREAS], changes))
        return tables

    @property
    def warnings(self) -> list[str]:
        """What a reader must know, and of which classes nothing can be said."""
        return [*self.notes, *(f"{name}: {why}" for name, why in self.unanswered.items())]

    def save(self, folder: str | Path) -> list[Path]:
        """Write suspects.json, .npz (regions, patches, who has it) and .csv, consequences.csv, and pictures.

        The pictures lie in a folder of the suspect's number: `region.png`, and of a place `with.png` and `without.png`,
        the mean of images with it and without.
        """
        folder = Path(folder)
        arrays = {f"{s.number}.{name}": array for s in self.suspects for name, array in s.arrays().items()}
        arrays |= {} if self.odds is None else {"odds": self.odds}
        arrays |= {f"picture.{name}": pixels for name, pixels in self.pictures.items()}
        write_arrays(folder / ARRAY_FILE, arrays)
        write_json(folder / JSON, self.to_json() | {"arrays_sha256": digest_of(folder / ARRAY_FILE)})
        tables = {folder / f"{self.name}.csv": self.rows, folder / "consequences.csv": self.consequence_rows}
        for path, rows in tables.items():
            write_csv(path, [{k: "" if v is None else v for k, v in row.items()} for row in rows])
        for suspect in self.suspects:
            _write_png(folder / str(suspect.number) / "region.png", suspect.region[None].astype(np.float32))
            for name, patch in (("with", suspect.mean_patch), ("without", suspect.mean_without)):
                if patch is not None:
                    _write_png(folder / str(suspect.number) / f"{name}.png", patch)
        return [folder / JSON, folder / ARRAY_FILE, *tables]

    @classmethod
    def load(cls, folder: str | Path) -> Discovery:
        """What `save` wrote.

        Raises:
            InputError: a folder without it; files that are damaged, or not of the same discovery.
        """
        import json

        path = Path(folder) / JSON
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{folder} holds no {JSON}: give the folder that `pellucid discover` wrote.") from error
        except ValueError as error:
            raise damaged(path, error) from error
        if stored.get("format") != FORMAT:
            raise InputError(f"{path} has format {stored.get('format')!r}; this version reads {FORMAT}.")
        arrays = read_arrays(path.with_name(ARRAY_FILE))
        if digest_of(path.with_name(ARRAY_FILE)) != stored["arrays_sha256"]:
            raise damaged(path.with_name(ARRAY_FILE), f"it is not the one that {JSON} was written with")
        suspects = []
        for one in stored["suspects"]:
            own = f"{one['number']}."
            suspects.append(
                Suspect.from_json(one, {k.removeprefix(own): v for k, v in arrays.items() if k.startswith(own)})
            )
        return cls(
            suspects,
            stored["about"],
            tuple(stored["classes"]),
            tuple(stored["ids"]),
            stored["settings"],
            stored["counts"],
            stored["unanswered"],
            stored["notes"],
            {k.removeprefix("picture."): v for k, v in arrays.items() if k.startswith("picture.")},
            stored["comparison"],
            arrays.get("odds"),
        )


def _ends(name: str, estimate: Estimate, *, counted: bool = False) -> dict[str, Any]:
    values = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {key: _value(value) for key, value in values.items()} | ({f"{name}_n": estimate.n} if counted else {})


def _in_class(suspect: Suspect, class_name: str) -> dict[str, Any]:
    """How common a suspect is in one class; empty where that was not counted."""
    common = suspect.prevalence_of.get(class_name)
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    parts = ("positives", "negatives", "apart")
    shares = {f"prevalence_{part}": nothing if common is None else getattr(common, part) for part in parts}
    return {key: value for name, of in shares.items() for key, value in _ends(name, of).items()} | {
        "p_prevalence": None if common is None else _value(common.p)
    }


def _line(suspect: Suspect) -> list[str]:
    first = suspect.effects[0]
    kind = " (marked)" if suspect.expected else " (not confirmed)" if suspect.confirmed is False else ""
    name = f"{suspect.number} {suspect.name}{kind}"
    p = "–" if math.isnan(first.p_corrected) else f"{first.p_corrected:.2g}"
    effects = [_text(first.share, whole_percent), _text(suspect.prevalence, whole_percent)]
    return [name, suspect.class_name, *effects, _text(first.taken_away), _text(first.put_in), p]


def _text(estimate: Estimate, text_of: Callable[[float], str] = "{:+.2f}".format) -> str:
    if math.isnan(estimate.value):
        return "–"
    return figure_text(estimate.value, estimate.low, estimate.high, text_of)


def _value(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _write_png(path: Path, pixels: npt.NDArray[np.float32]) -> None:
    """Pixels (C, h, w) in [0, 1] as a picture."""
    from PIL import Image

    levels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    with whole_file(path) as temporary:
        Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(temporary, format="PNG")
