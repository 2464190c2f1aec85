"""The results of a study opened for reading: every row found by what it measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.report.charts.drawing import styles_of
from pellucid.report.tables.metrics import defined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pellucid.report.charts.drawing import Style

ResultRow = dict[str, Any]
"""One figure of a study: what it measures, value, interval, n, seeds and difference from the reference."""

_KEY = ("section", "metric", "variant", "class", "target", "method", "gate", "at", "threshold")
TRIVIAL = "trivial: "
MEAN = "mean"
NETWORKS_ALONE = "This says nothing about the recipes"
"""How the sentence begins that limits a conclusion to the networks that were trained."""


class ResultsIndex:
    """Results indexed by what each row measures.

    Example:
        >>> row = {"section": "classification", "metric": "auroc", "variant": "a", "value": 0.8}
        >>> index = ResultsIndex({"variants": [{"label": "a", "reference": True}], "rows": [row]})
        >>> index.row("classification", "auroc", "a")["value"], index.row("classification", "auroc", "b")
        (0.8, None)
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.results = results
        self.variants: list[str] = [v["label"] for v in results["variants"]]
        self.reference: str = next((v["label"] for v in results["variants"] if v.get("reference")), self.variants[0])
        self.styles: dict[str, Style] = styles_of(self.variants, self.reference, self.families)
        self.classes: list[str] = list(results.get("data", {}).get("classes", []))
        self.methods: list[str] = list(results.get("methods", []))
        self._rows: dict[tuple[Any, ...], ResultRow] = {}
        self._sections: dict[str, list[ResultRow]] = {}
        self._groups: dict[tuple[str, ...], dict[tuple[Any, ...], list[ResultRow]]] = {}
        for row in results["rows"]:
            self._sections.setdefault(row["section"], []).append(row)
            self._rows[tuple(_value(row, field) for field in _KEY)] = row

    @property
    def families(self) -> dict[str, str]:
        """The family of each variant that has one."""
        return {v["label"]: v["family"] for v in self.results["variants"] if v.get("family")}

    @property
    def class_noun(self) -> str:
        """What one of the classes is called: several findings may be on an image, but it is of one class."""
        return "class" if self.results.get("data", {}).get("task") == "multiclass" else "finding"

    @property
    def sampled(self) -> str:
        """What the intervals speak of: patients, or images where each is of another patient or none is known."""
        parts = self.results.get("data", {}).get("parts", {}).values()
        alone = all(part["patients"] in (None, part["images"]) for part in parts)
        return "images" if parts and alone else "patients"

    @property
    def others(self) -> list[str]:
        """The variants that are compared with the reference."""
        return [label for label in self.variants if label != self.reference]

    @property
    def targets(self) -> list[dict[str, Any]]:
        """Where explanations are scored."""
        return list(self.results.get("targets", []))

    def section(self, name: str) -> list[ResultRow]:
        """All rows of one section, in the study's order."""
        return self._sections.get(name, [])

    def row(
        self,
        section: str,
        name: str,
        variant: str = "",
        *,
        cls: str = MEAN,
        target: str = "",
        method: str = "",
        gate: str = "",
        at: str = "",
        threshold: float | None = None,
    ) -> ResultRow | None:
        """The row that measures exactly this, or None."""
        return self._rows.get((section, name, variant, cls, target, method, gate, at, threshold))

    def values(self, field: str, section: str, **where: Any) -> list[Any]:  # noqa: ANN401
        """The values a field takes in a section's rows that have these fields, each once, in order.

        A field's name that is a Python keyword is written with an underscore: ``class_="mean"``.
        """
        named = [key.rstrip("_") for key in where]
        if (groups := self._groups.get((section, *named))) is None:
            groups = self._groups[section, *named] = {}
            for row in self.section(section):
                groups.setdefault(tuple(_value(row, name) for name in named), []).append(row)
        return list(dict.fromkeys(_value(row, field) for row in groups.get(tuple(where.values()), [])))

    def class_names(self, section: str, **where: Any) -> list[str]:  # noqa: ANN401
        """The classes with rows in a section, in the dataset's order, the mean last."""
        present = self.values("class", section, **where)
        own = [c for c in self.classes if c in present]
        return [
            *own,
            *(c for c in present if c not in own and c != MEAN),
            *([MEAN] if MEAN in present else []),
        ]

    def known_methods(self, section: str, **where: Any) -> list[str]:  # noqa: ANN401
        """The explanation methods with rows in a section, in the study's order, without the trivial maps."""
        present = [m for m in self.values("method", section, **where) if m and not m.startswith(TRIVIAL)]
        return [*(m for m in self.methods if m in present), *(m for m in present if m not in self.methods)]

    def trivial_maps(self, section: str, **where: Any) -> list[str]:  # noqa: ANN401
        """The trivial maps with rows in a section."""
        return [m for m in self.values("method", section, **where) if m.startswith(TRIVIAL)]

    def best_trivial(self, target: str, name: str) -> tuple[float, str] | None:
        """The highest score that a map without a network has on a target, and which map; None where there is none."""
        rows = {
            t: self.row("localization", name, target=target, method=t)
            for t in self.trivial_maps("localization", target=target)
        }
        return max(
            ((row["value"], t.removeprefix(TRIVIAL)) for t, row in rows.items() if row and defined(row["value"])),
            default=None,
        )

    def comparators(self, section: str, name: str, at: str = "") -> list[dict[str, Any]]:
        """Published figures that this metric is shown beside."""
        comparators: Iterable[dict[str, Any]] = self.results.get("comparators", [])
        return [c for c in comparators if (c["section"], c["metric"], c.get("at", "")) == (section, name, at)]


def _value(row: Mapping[str, Any], field: str) -> Any:  # noqa: ANN401
    value = row.get(field)
    if field == "class":
        return MEAN if value is None else value
    return value if field == "threshold" or value is not None else ""
