"""Damaged files of others: does every reader answer with one clear error, in time and within memory?

For every kind of file that Pellucid reads (`--only` names one), whole files are made with the usual libraries, one of
them is damaged (benchmarks/fuzz_mutations.py), and all are read through Pellucid's own functions in a process of its
own, with a limit of memory and of time. Read whole and refused with an InputError are fine; a traceback, a panic, a
crash, a hang and too much memory are findings, which are printed with what repeats them. Also counted: refusals that
name no damaged file. Writes benchmarks/results/fuzz_readers.csv. Needs a system that can fork.

`python benchmarks/fuzz_readers.py --trials 600 --seed 0`; one trial again: `--only png --first 7 --trials 1`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from fuzz_inputs import KINDS, Kind
from fuzz_mutations import damage
from pellucid.types import InputError
from pellucid.utils.progress import progress_bar
from table import machine, versions, write

SECONDS = 30
MEGABYTES = 1500  # an image may have 9,459 × 9,459 pixels, 256 MiB in colour, and some copies on its way


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: `read`, `refused`, or what else; a finding is anything else."""

    verdict: str
    said: str = ""
    named: bool = True
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def finding(self) -> bool:
        """Whether it is one to mend."""
        return self.verdict not in ("read", "refused")


def run_trial(
    kind: Kind, folder: Path, names: list[str], *, seconds: float = SECONDS, megabytes: float = MEGABYTES
) -> Outcome:
    """Read a folder in a forked process.

    Args:
        kind: what is in it.
        folder: where; files may be written beside the damaged ones.
        names: the damaged files, of which a refusal has to name one.
        seconds: after which it counts as hanging.
        megabytes: of memory that it may take.
    """
    receiver, sender = os.pipe()
    trace = folder.with_name("stderr.txt")
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        _limit(seconds, megabytes, trace)
        os.write(sender, json.dumps(asdict(_read(kind, folder, names))).encode())
        os._exit(0)
    os.close(sender)
    answer = b""
    while select.select([receiver], [], [], max(0.0, started + seconds - time.monotonic()))[0]:
        block = os.read(receiver, 65536)
        if not block:
            break
        answer += block
    else:
        os.kill(child, signal.SIGKILL)
    os.close(receiver)
    _, status, used = os.wait4(child, 0)
    spent = time.monotonic() - started
    peak = used.ru_maxrss / 1024
    if answer and status == 0:
        outcome = Outcome(**{**json.loads(answer), "seconds": spent})
        return (
            outcome
            if outcome.megabytes < megabytes
            else Outcome("memory", f"{outcome.megabytes:.0f} MB", True, spent, peak)
        )
    said = trace.read_text(errors="replace")[-3000:]
    verdict = "hang" if spent >= seconds else f"killed by signal {status & 127}"
    return Outcome(verdict, said, False, spent, peak)


def _limit(seconds: float, megabytes: float, trace: Path) -> None:
    """Have this process end where it takes too much, and say where it hung or crashed."""
    stream = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    faulthandler.enable(stream)
    faulthandler.dump_traceback_later(max(0.1, seconds - 1), file=stream)
    pages = Path("/proc/self/statm")
    held = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    limit = held + int(2 * megabytes * 2**20)  # of addresses, of which more are asked for than are used
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")


def _read(kind: Kind, folder: Path, names: list[str]) -> Outcome:
    before = _resident()
    try:
        said = kind.read(folder)
    except InputError as error:
        said = [str(error)]
    except BaseException as error:
        return Outcome(type(error).__name__, traceback.format_exc()[-3000:], any(n in str(error) for n in names))
    if any("MemoryError" in text for text in said):
        return Outcome("memory", said[0])
    took = max(0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before)
    if not said:
        return Outcome("read", megabytes=took)
    return Outcome("refused", said[0][:3000], any(n in text for n in names for text in said), megabytes=took)


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepare(name: str, folder: Path) -> Path:
    """Whole files of a kind, which are read once: they must be fine, and what reading imports is there then."""
    whole = folder / name
    whole.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        KINDS[name].make(whole)
        copied = folder / "copy"
        shutil.copytree(whole, copied)
        said = KINDS[name].read(copied)
    shutil.rmtree(copied)
    if said:
        raise SystemExit(f"{name}: whole files are refused: {said[0]}")
    return whole


def fuzz(name: str, whole: Path, seed: int, trial: int, kept: Path | None, *, seconds: float = SECONDS) -> Outcome:
    """One trial of a kind: the same seed and number give the same damage."""
    rng = np.random.default_rng([seed, crc32(name.encode()), trial])
    folder = whole.parent / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    files = sorted(path for path in folder.glob(KINDS[name].damaged) if path.is_file())
    file = files[int(rng.integers(len(files)))]
    how = damage(file, rng)
    outcome = run_trial(KINDS[name], folder, [file.name], seconds=seconds)
    if outcome.finding or not outcome.named:
        what = "FINDING" if outcome.finding else "names no file"
        print(
            f"{what}: --only {name} --first {trial} --trials 1 --seed {seed}: {how} of {file.name}: "
            f"{outcome.verdict}\n{outcome.said}\n",
            file=sys.stderr,
        )
        if kept is not None:
            shutil.copytree(whole.parent / "trial", kept / f"{name}-{trial}", dirs_exist_ok=True)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=600, help="over all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(KINDS), help="one kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first trial of each kind")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which a trial counts as hanging")
    parser.add_argument("--keep", type=Path, help="a folder for the files of findings")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "fuzz_readers.csv")
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        sys.exit("this campaign needs a system that can fork.")
    torch.set_num_threads(1)  # a fork has only the thread that forked
    names = [options.only] if options.only else list(KINDS)
    found: dict[str, list[Outcome]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as made:
        whole = {name: prepare(name, Path(made)) for name in names}
        with progress_bar("damaged files", options.trials, unit="trials") as advance:
            for number in range(options.trials):
                name = names[number % len(names)]
                trial = options.first + number // len(names)
                found[name].append(fuzz(name, whole[name], options.seed, trial, options.keep, seconds=options.seconds))
                advance()
    rows = [_row(name, outcomes, options.seed) for name, outcomes in found.items() if outcomes]
    write(options.results, rows)
    everything = [outcome for outcomes in found.values() for outcome in outcomes]
    findings = sum(outcome.finding for outcome in everything)
    print(f"{len(everything)} trials, {findings} findings; {sum(not o.named for o in everything)} name no damaged file")
    sys.exit(1 if findings else 0)


def _row(name: str, outcomes: list[Outcome], seed: int) -> dict[str, object]:
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    return {
        "kind": name,
        "trials": len(outcomes),
        "read": verdicts["read"],
        "refused": verdicts["refused"],
        "findings": sum(outcome.finding for outcome in outcomes),
        "name no file": sum(not outcome.named for outcome in outcomes),
        "slowest s": f"{max(outcome.seconds for outcome in outcomes):.1f}",
        "most MB": f"{max(outcome.megabytes for outcome in outcomes):.0f}",
        "seed": seed,
        "machine": machine(),
        "versions": versions("numpy", "pillow", "simplejpeg", "pydicom", "pyarrow", "torch"),
    }


if __name__ == "__main__":
    main()
