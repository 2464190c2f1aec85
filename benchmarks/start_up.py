"""What starting costs: `pellucid --help` beside an empty Python, and the verbs beside `import torch`.

Each in a process of its own, all of them in every round, in another order; processor time of the process, user and
system, once the files are in the page cache. A ratio is the median of the rounds' ratios to the floor that the row
names. Writes results/start_up.csv.

    python benchmarks/start_up.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from table import machine, versions, write

RESULTS = Path(__file__).parent / "results" / "start_up.csv"
HELP = "import sys; sys.argv = ['pellucid', *{!r}]; from pellucid.cli.app import main; main()"
# what runs, and the floor that it is held against
STARTS = {
    "python": ("pass", "python"),
    "import pellucid": ("import pellucid", "python"),
    "pellucid --help": (HELP.format(["--help"]), "python"),
    "pellucid explain --help": (HELP.format(["explain", "--help"]), "python"),
    "import torch": ("import torch", "import torch"),
    "pellucid.load": ("import pellucid; pellucid.load", "import torch"),
    "pellucid.explain": ("import pellucid; pellucid.explain", "import torch"),
}


def spent(code: str) -> float:
    """Processor seconds of a process, to the microsecond: an empty Python takes about ten milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    names = list(STARTS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):  # the first one fills the page cache
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            one = spent(STARTS[name][0])
            if turn:
                seconds[name].append(one)
    rows = []
    for name, (_, floor) in STARTS.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds[floor], strict=True))
        values = {
            "seconds": f"{statistics.median(seconds[name]):.3f}",
            "floor": floor,
            "ratio to floor": f"{ratio:.2f}",
        }
        rows.append({"start": name, **values, "rounds": rounds, "machine": machine(), "versions": versions("torch")})
        print(*rows[-1].values(), sep="  ")
    write(RESULTS, rows)


if __name__ == "__main__":
    main()
