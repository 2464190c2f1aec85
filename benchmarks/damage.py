"""Accidents: commands killed at random moments, and every file they left damaged; then the same command again.

Small real folders are made by real commands (a finished and a stopped training run, a study, areas, a table of trust,
an audit, certificates, attacked explanations, a cache, an annotation database). A trial takes a copy of one and

- kills the command (SIGKILL, it and its processes) at a random moment, or
- cuts, empties, removes one file of it, changes one bit, puts zeros over a block, or puts garbage in its place;

then it gives the same command again. That must end with the figures of the undamaged folder, bit for bit, or be refused
in a sentence: a traceback, a bare "Aborted." or another figure without a word is a failure. One kind of damage would be
such a failure and is seldom met here: SQLite keeps no checksums, so a bit that turns one text of the annotation
database into another readable one is not noticed, and most of the small database is empty.

Commands run in processes forked from one that has imported everything, so that a trial takes about a second. Writes
benchmarks/results/damage.csv; --keep FOLDER makes a campaign that goes on where it was interrupted.

    python benchmarks/damage.py --trials 500 --jobs 2
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from safetensors.numpy import load_file

import pellucid as package
from pellucid.annotations.records import LabelAnswer, Mark, Note
from pellucid.annotations.shapes import Polygon, Rectangle
from pellucid.annotations.store import open_store
from pellucid.cli.app import main as pellucid
from pellucid.data import open_dataset
from pellucid.models.weights import read_model_card
from pellucid.utils.progress import progress_bar
from table import machine, versions, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PHANTOM = [
    "--data", "phantom", *(f"--data-option={k}={v}" for k, v in
    {"size": 32, "train": 24, "validation": 16, "test": 20, "prevalence": 0.4}.items()), "--device", "cpu",
]  # fmt: skip
NETWORK = "{name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}"
TRAIN = [
    "train", "standard", *PHANTOM, "--out", "run", "--set", f"model={NETWORK}", "--set", "training.epochs=3",
    "--set", "training.batch_size=8", "--set", "training.checkpoint_seconds=0",
]  # fmt: skip
STUDY = [
    "data.options={size=32, train=16, validation=12, test=20, prevalence=0.4}", f"settings.model={NETWORK}",
    "settings.training={epochs=1, batch_size=8}", "evaluation.robustness={sizes=[{linf=0.01}], steps=2}",
    "evaluation.methods=['cam']", "evaluation.resamples=100", "evaluation.panels=0",
    "evaluation.adversarial.cases=0", "evaluation.trust={methods=['cam'], samples=1, limit=4, attacked=0}",
    "evaluation.ara={kinds=['attack'], limit=14}",
]  # fmt: skip
UNSTABLE = {"seconds", "planned", "sha256", "digest", "time", "created", "command", "machine", "versions", "date"}
KILL, LIMIT = "killed", 180


@dataclass(frozen=True)
class Subject:
    """A folder that a command leaves.

    Attributes:
        name: of the folder.
        command: what is given again; relative to the folder that holds the folder.
        figures: what must come out the same, from there.
        kills: its share of trials in which the command is killed.
        weight: how many trials it gets, beside the others.
    """

    name: str
    command: tuple[str, ...]
    figures: Callable[[Path], Any]
    kills: float = 0.25
    weight: float = 1.0


@dataclass(frozen=True)
class Trial:
    """One accident."""

    number: int
    subject: str
    kind: str
    file: str


@dataclass(frozen=True)
class Outcome:
    """What came of it: `same`, `same, said`, `refused`, or a failure."""

    number: int
    subject: str
    kind: str
    file: str
    outcome: str
    words: str


GOOD = ("same", "same, said", "refused")
KINDS = ("cut", "emptied", "flipped", "zeroed", "garbage", "removed")


def damage(path: Path, kind: str, rng: np.random.Generator) -> None:
    """Do this to a file."""
    content = path.read_bytes()
    if kind == "removed":
        path.unlink()
        return
    place = int(rng.integers(len(content))) if content else 0
    if kind == "cut":
        content = content[:place]
    elif kind == "emptied":
        content = b""
    elif kind == "flipped" and content:
        content = content[:place] + bytes([content[place] ^ (1 << int(rng.integers(8)))]) + content[place + 1 :]
    elif kind == "zeroed":
        end = min(len(content), place + int(rng.integers(1, 4097)))
        content = content[:place] + b"\0" * (end - place) + content[end:]
    elif kind == "garbage":
        content = rng.bytes(int(rng.integers(1, 400)))
    path.chmod(0o600)
    path.write_bytes(content)


def start(arguments: tuple[str, ...], folder: Path) -> int:
    """The id of a process of its own group that runs `pellucid` in a folder; what it prints lies in `said`."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        run_and_leave(arguments, folder)
    return process


def run_and_leave(arguments: tuple[str, ...], folder: Path) -> NoReturn:
    """Run the command as its own process does, and end."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        handle = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.environ["PELLUCID_PROGRESS"] = "0"
        sys.argv = ["pellucid", *arguments]
        pellucid()
        code = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(process: int, folder: Path) -> tuple[int, str]:
    """Exit status and words of a process, waited for."""
    until = time.monotonic() + LIMIT
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return 124, "it did not end"
        time.sleep(0.01)
    said = (folder / "said").read_text(errors="replace") if (folder / "said").exists() else ""
    return os.waitstatus_to_exitcode(status), said


def call(arguments: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Run the command in a folder."""
    return finish(start(arguments, folder), folder)


def steady(value: Any) -> Any:
    """A value without what differs between two runs of the same command: times, and digests of them."""
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if not any(word in k for word in UNSTABLE)}
    return [steady(v) for v in value] if isinstance(value, list) else value


def of_json(*names: str) -> Callable[[Path], Any]:
    """Figures: JSON files."""
    return lambda folder: [steady(json.loads((folder / name).read_text())) for name in names]


def of_rows(json_name: str, *tables: str) -> Callable[[Path], Any]:
    """Figures: a JSON file, and rows in any order."""

    def figures(folder: Path) -> Any:
        found = [of_json(json_name)(folder)]
        for table in tables:
            with (folder / table).open(newline="", encoding="utf-8") as stream:
                found.append(sorted(str(steady(row)) for row in csv.DictReader(stream)))
        return found

    return figures


def of_run(folder: Path) -> Any:
    """Figures: the network, its thresholds, and the history of its training."""
    card = read_model_card(folder / "run")
    weights = {
        k: hashlib.sha256(v.tobytes()).hexdigest() for k, v in load_file(folder / "run/weights.safetensors").items()
    }
    rows = [steady(json.loads(line)) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return [weights, card["thresholds"], card["score"], rows]


def of_annotations(folder: Path) -> Any:
    """Figures: what the export says, times apart."""
    return steady(json.loads((folder / "out.json").read_text()))


def subjects() -> dict[str, Subject]:
    """Everything that is damaged."""
    judged = ["../whole/run/run", *PHANTOM]
    small = ["--limit", "8"]
    trust = ["--method", "cam", "--samples", "1", "--attacked", "2", "--attack-steps", "2"]
    attack = ["--method", "saliency", "--steps", "3", "--budget", "0.01", "--budget", "0.02", "--pictures", "0"]
    certify = [
        "--sigma",
        "0.2",
        "--samples",
        "40",
        "--selection-samples",
        "10",
        "--attack-samples",
        "2",
        "--alpha",
        "0.05",
    ]
    study = [argument for one in STUDY for argument in ("--set", one)]
    made = [
        Subject("run", (*TRAIN, "--resume"), of_run, weight=1.5),
        Subject("stopped", (*TRAIN, "--resume"), of_run, kills=0, weight=2),
        Subject(
            "study", ("study", "demo", *study, "--out", "study", "--device", "cpu", "--jobs", "1"),
            of_json("study/results.json"), kills=0.15,
        ),
        Subject(
            "ara", ("ara", *judged, "--kind", "attack", "--limit", "14", "--out", "ara"),
            of_rows("ara/ara.json", "ara/radii.csv"),
        ),
        Subject(
            "audit", ("audit", *judged, *small, "--quick", "--method", "saliency", "--out", "audit"),
            of_json("audit/audit.json"), weight=1.5,
        ),
        Subject("trust", ("trust", *judged, *small, *trust, "--out", "trust"), of_json("trust/trust.json")),
        Subject(
            "certify", ("certify", *judged, "--limit", "14", *certify, "--out", "certify"),
            of_rows("certify/certify.json", "certify/certify.csv"),
        ),
        Subject(
            "attacked", ("attack-explanation", *judged, "--limit", "4", *attack, "--out", "attacked"),
            of_rows("attacked/attack-explanation.json", "attacked/attack-explanation.csv"),
        ),
        Subject(
            "cache", ("evaluate", *judged, "--cache", "cache", "--out", "evaluated"),
            of_json("evaluated/classification.json"),
        ),
        Subject("annotations", ("annotate", "export", "annotations/a.db", "--out", "out.json"),
                of_annotations, kills=0, weight=0.7),
    ]  # fmt: skip
    return {one.name: one for one in made}


def build(top: Path, wanted: list[str]) -> None:
    """Make what is not made yet: `top`/whole/NAME."""
    everything = subjects()
    needed = [*dict.fromkeys(["run", *wanted])]
    for name in needed:
        final, folder = top / "whole" / name, top / f"making-{name}"
        if final.exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        if name == "stopped":
            stop_training(folder)
        else:
            made = make_annotations(folder) if name == "annotations" else None
            command = everything[name].command
            command = command[:-1] if name == "run" else command
            code, said = (0, "") if made else call(command, folder)
            if name == "annotations":
                code, said = call(command, folder)
            if code != 0:
                raise SystemExit(f"{name} could not be made: {said}")
        (folder / "said").unlink(missing_ok=True)
        (folder / "seconds").write_text(f"{time.monotonic() - began:.2f}")
        final.parent.mkdir(exist_ok=True)
        folder.rename(final)


def stop_training(folder: Path) -> None:
    """A training that was killed in its second epoch."""
    process = start(tuple(TRAIN), folder)
    while not ((lines := folder / "run/metrics.jsonl").exists() and lines.read_bytes().count(b"\n") >= 1):
        time.sleep(0.005)
    time.sleep(0.05)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)


def make_annotations(folder: Path) -> bool:
    """A database with some marks, answers and notes, made in a process of its own."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            fill_store(folder / "annotations" / "a.db")
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(process, 0)[1] == 0


def fill_store(path: Path) -> None:
    """Marks, answers and notes of two people."""
    path.parent.mkdir()
    dataset = open_dataset("phantom", options={"size": 32, "train": 30, "validation": 2, "test": 2})["train"]
    store = open_store(str(path), create=dataset)
    for number in range(30):
        image, who = dataset.ids[number], ("Ann", "Bob")[number % 2]
        store.put_image(image, 32, 32)
        store.add_mark(Mark(image, "Nodule", "relevant", Rectangle(0.25, 0.5, 0.25, 0.1 + number / 100), who))
        store.add_mark(Mark(image, "Mass", "irrelevant", Polygon(((0.1, 0.2), (1 / 3, 0.7), (0.9, 2 / 3))), who))
        store.put_verdict(LabelAnswer(image, "Nodule", "yes", who))
        store.put_note(Note(image, f"note {number}", who))
    store.close()


def warm() -> None:
    """Import what commands import when they are called, once for all that are forked."""
    import_module("matplotlib.pyplot")
    for found in walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__") and "migrations" not in found.name:
            import_module(found.name)


def plan(top: Path, trials: int, seed: int, only: list[str]) -> list[Trial]:
    """The trials, the same ones for the same seed: each file of a folder before any a second time."""
    rng = np.random.default_rng(seed)
    chosen = [one for one in subjects().values() if one.name in only]
    shares = np.array([one.weight for one in chosen]) / sum(one.weight for one in chosen)
    made: list[Trial] = []
    for one, count in zip(chosen, np.ceil(shares * trials).astype(int), strict=True):
        kills = round(one.kills * count)
        folder = top / "whole" / one.name
        files = sorted(
            p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.parent != folder
        )
        pairs = []
        for turn in range(-(-(count - kills) // max(1, len(files)))):
            pairs += [(KINDS[(i + turn) % len(KINDS)], files[i]) for i in rng.permutation(len(files))]
        made += [Trial(0, one.name, *pair) for pair in pairs[: count - kills]]
        made += [Trial(0, one.name, KILL, "")] * kills
    order = rng.permutation(len(made))[:trials]
    return [Trial(number, made[i].subject, made[i].kind, made[i].file) for number, i in enumerate(order)]


def attempt(trial: Trial, top: Path, seed: int, expected: Any) -> Outcome:
    """One trial, in a folder of its own, which goes again."""
    rng = np.random.default_rng([seed, trial.number])
    one, whole = subjects()[trial.subject], top / "whole" / trial.subject
    folder = top / f"trial-{trial.number:05d}"
    shutil.rmtree(folder, ignore_errors=True)
    command, killed = one.command, ""
    if trial.kind == KILL:
        folder.mkdir()
        command = command[:-1] if one.name == "run" else command
        process = start(command, folder)
        time.sleep(float(rng.uniform(0.02, 1.0)) * float((whole / "seconds").read_text()))
        os.killpg(process, signal.SIGKILL) if os.getpgid(process) == process else os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        if one.name == "run" and (folder / "run" / "run.toml").exists():
            command = one.command
        killed = " ".join(sorted(p.name for p in folder.rglob("*"))[:3])
    else:
        shutil.copytree(whole, folder)
        damage(folder / trial.file, trial.kind, rng)
    code, said = call(command, folder)
    name = Path(trial.file).name or killed
    found = judged(code, said, name if trial.kind != KILL else "", one, folder, expected, killed=trial.kind == KILL)
    if found in GOOD:
        shutil.rmtree(folder, ignore_errors=True)
    words = " | ".join(line.strip() for line in said.splitlines() if line.startswith(("note", "pellucid")))
    return Outcome(*asdict(trial).values(), found, (words or said[-600:] if found not in GOOD else words)[:600])


def judged(  # noqa: PLR0911 (one return an outcome)
    code: int,
    said: str,
    name: str,
    one: Subject,
    folder: Path,
    expected: Any,
    *,
    killed: bool,
) -> str:
    """What came of a trial."""
    if code == 124:
        return "no end"
    if "Traceback (most recent call last)" in said or code < 0:
        return "traceback"
    if any(line.strip() in ("Aborted.", "Aborted!") for line in said.splitlines()):
        return "aborted"
    if code != 0:
        if killed:
            return "refused after a kill"
        return "refused" if "pellucid: " in said and name in said else "refused, not named"
    try:
        same = one.figures(folder) == expected
    except Exception:
        return "done, and nothing to read"
    noted = bool(name) and any(name in line for line in said.splitlines() if line.startswith("note"))
    if same:
        return "same, said" if noted else "same"
    return "different, said" if noted else "silently different"


def campaign(top: Path, trials: int, seed: int, only: list[str], jobs: int) -> list[Outcome]:
    """Every trial, those of an earlier call with the same folder not again."""
    torch.set_num_threads(1)
    warm()
    build(top, only)
    expected = {name: subjects()[name].figures(top / "whole" / name) for name in only if name != "stopped"}
    if "stopped" in only:
        expected["stopped"] = subjects()["run"].figures(top / "whole" / "run")
    done = top / f"outcomes-{seed}.jsonl"
    planned = plan(top, trials, seed, only)
    before = {found.number for found in outcomes(done)}
    left = [trial for trial in planned if trial.number not in before]
    workers = []
    for share in range(jobs):
        process = os.fork()
        if process == 0:
            work(left[share::jobs], top, seed, expected, done)
        workers.append(process)
    with progress_bar("accidents", len(planned), unit="trial") as advance:
        seen = 0
        while workers:
            workers = [process for process in workers if os.waitpid(process, os.WNOHANG)[0] == 0]
            count = len(outcomes(done))
            advance(count - seen)
            seen = count
            time.sleep(0.2)
    found = {one.number: one for one in outcomes(done)}
    return [found[trial.number] for trial in planned if trial.number in found]


def work(trials: list[Trial], top: Path, seed: int, expected: dict[str, Any], done: Path) -> NoReturn:
    """A share of the trials, each outcome written at once."""
    code = 1
    try:
        for trial in trials:
            line = json.dumps(asdict(attempt(trial, top, seed, expected[trial.subject]))) + "\n"
            with done.open("ab", buffering=0) as stream:
                stream.write(line.encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def outcomes(path: Path) -> list[Outcome]:
    """Those written so far."""
    if not path.exists():
        return []
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]


def table_of(found: list[Outcome], seed: int) -> Iterator[dict[str, object]]:
    """A row a folder and kind of accident: how many trials, and what came of them."""
    kinds = [*GOOD, *sorted({one.outcome for one in found} - set(GOOD))]
    kinds = [*dict.fromkeys([*kinds, "traceback", "aborted", "silently different"])]
    counts = Counter((one.subject, one.kind, one.outcome) for one in found)
    for subject, kind in sorted({(one.subject, one.kind) for one in found}):
        own = {outcome: counts[subject, kind, outcome] for outcome in kinds}
        yield {
            "folder": subject, "accident": kind, "trials": sum(own.values()), **own, "seed": seed,
            "machine": machine(), "versions": versions("torch", "numpy", "safetensors", "sqlalchemy"),
        }  # fmt: skip


def main() -> None:
    """Run the campaign and say what failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="these folders only, separated by commas: " + ", ".join(subjects()))
    parser.add_argument("--keep", type=Path, help="a folder for the campaign, to go on with it and to look at failures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "damage.csv")
    given = parser.parse_args()
    only = given.only.split(",") if given.only else list(subjects())
    if odd := set(only) - set(subjects()):
        parser.error(f"no folders called {', '.join(sorted(odd))}")
    with tempfile.TemporaryDirectory() as temporary:
        top = (given.keep or Path(temporary)).resolve()
        top.mkdir(parents=True, exist_ok=True)
        found = campaign(top, given.trials, given.seed, only, given.jobs)
    for one in found:
        if one.outcome not in GOOD:
            print(f"{one.number}: {one.subject}, {one.file or 'the command'} {one.kind}: {one.outcome}: {one.words}")
    print(dict(Counter(one.outcome for one in found)))
    write(given.out, list(table_of(found, given.seed)))


if __name__ == "__main__":
    main()
