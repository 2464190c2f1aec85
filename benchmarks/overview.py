"""The table of benchmarks/README.md, from the files in results/: what an operation costs, its floor, its best peer.

Nothing is measured here; every ratio was taken within one run of the script that wrote the file.

    python benchmarks/overview.py        # writes the table into the page
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "README.md"
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- table -->\n", "<!-- end -->"


class Figure(NamedTuple):
    """A number of a file: of the first row that has these values, over the same of another row where one is named."""

    column: str
    where: dict[str, str]
    over: dict[str, str] | None = None


class Operation(NamedTuple):
    """One line: `unit` is what 1 stands for, `floor` and `peer` are figures or words."""

    name: str
    file: str
    unit: str
    ours: Figure
    floor: Figure | str
    peer: Figure | str = "–"
    peer_name: str = ""


def penalty(step: str) -> dict[str, Figure]:
    """A step with the gradient penalty, and what its passes alone would cost."""
    where = {"step": step}
    return {"ours": Figure("median ratio to plain", where), "floor": Figure("ratio counted in passes", where)}


def huber(form: str) -> Figure:
    """Half-Huber beside ReLU."""
    return Figure("ratio to ReLU", {"form": form, "pass": "forward and backward"})


def start(name: str) -> Figure:
    """What a process costs beside its floor."""
    return Figure("ratio to floor", {"start": name})


ATTACK = {"network": "standard", "kind": "attack", "images": "128"}
OPERATIONS = [
    Operation(
        "penalty step, ReLU, no corner crossed",
        "penalty_step",
        "a plain step",
        **penalty("penalty, ReLU, same-side (auto)"),
    ),
    Operation("penalty step, ReLU, exact", "penalty_step", "a plain step", **penalty("penalty, ReLU, exact"))._replace(
        floor=Figure("ratio counted in passes", {"step": "penalty, ReLU, finite difference"})
    ),
    Operation(
        "penalty step, half-Huber, finite difference",
        "penalty_step",
        "a plain step",
        **penalty("penalty, half-Huber, finite difference (auto)"),
    ),
    Operation(
        "step with adversarial images in half of the loss",
        "training_step",
        "a plain step",
        Figure("ratio to plain", {"recipe": "khakzar2019-robust"}),
        Figure("ratio counted in passes", {"recipe": "khakzar2019-robust"}),
    ),
    Operation(
        "half-Huber, forward and backward",
        "half_huber",
        "ReLU",
        huber("ours"),
        "1",
        huber("published"),
        "the paper's code",
    ),
    Operation(
        "half-Huber, compiled, forward and backward", "half_huber", "ReLU, not compiled", huber("ours, compiled"), "1"
    ),
    Operation(
        "Grad-CAM of 14 classes",
        "activation_maps",
        "a forward pass",
        Figure("ratio to forward", {"method": "pellucid Grad-CAM"}),
        "1",
        Figure("ratio to forward", {"method": "torchcam GradCAM, one graph"}),
        "torchcam",
    ),
    Operation(
        "ARA: the smallest change of an image",
        "minimal_attacks",
        "the paper's attack",
        Figure("times as fast (cpu)", {**ATTACK, "method": "woods2019"}, {**ATTACK, "method": "tight"}),
        "–",
        Figure("times as fast (cpu)", {**ATTACK, "method": "woods2019"}, {**ATTACK, "method": "foolbox-ddn"}),
        "foolbox's DDN",
    ),
    Operation(
        "an epoch's batches from the cache",
        "cached_epoch",
        "the cache",
        Figure("time over cached", {"way": "cached"}),
        "–",
        Figure("time over cached", {"way": "torchxrayvision"}),
        "torchxrayvision",
    ),
    *[
        Operation(
            f"table of trust, {name}",
            "trust_table",
            "its passes alone",
            Figure("ratio to passes", {"method": method}),
            "1",
        )
        for name, method in (("CAM", "cam"), ("Grad-CAM", "grad-cam"), ("saliency", "saliency"))
    ],
    Operation(
        "`.ci/run`, installing included",
        "suite",
        "10 minutes, the aim",
        Figure("wall over 10 minutes", {"run": ".ci/run", "result": "passed"}),
        "–",
    ),
    Operation("`pellucid --help`", "start_up", "an empty Python", start("pellucid --help"), "1"),
    Operation("`pellucid explain --help`", "start_up", "an empty Python", start("pellucid explain --help"), "1"),
    Operation("`import pellucid`", "start_up", "an empty Python", start("import pellucid"), "1"),
    Operation("`pellucid.explain`, looked up", "start_up", "`import torch`", start("pellucid.explain"), "1"),
]


def table() -> str:
    """The table as Markdown."""
    lines = ["| operation | 1 is | ours | floor | best peer | file |", "|---|---|---|---|---|---|"]
    for one in OPERATIONS:
        with (RESULTS / f"{one.file}.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        ours, floor, peer = (_text(figure, rows) for figure in (one.ours, one.floor, one.peer))
        peer = f"{peer} ({one.peer_name})" if one.peer_name else peer
        link = f"[{one.file}](results/{one.file}.csv)"
        lines.append(f"| {one.name} | {one.unit} | {ours} | {floor} | {peer} | {link} |")
    return "\n".join(lines) + "\n"


def _text(figure: Figure | str, rows: list[dict[str, str]]) -> str:
    if isinstance(figure, str):
        return figure
    value = _number(figure.column, figure.where, rows)
    if figure.over is not None:
        value /= _number(figure.column, figure.over, rows)
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


def _number(column: str, where: dict[str, str], rows: list[dict[str, str]]) -> float:
    return float(next(row[column] for row in rows if where.items() <= row.items()))


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
