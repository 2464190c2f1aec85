"""What only an accelerator can show, in one table: each command on it, and its arithmetic beside the processor's.

    python benchmarks/gpu_check.py [--device cuda] [--data DIR] [--only WORDS] [--minutes 8] [--toy]

It needs nothing but the package: its images are CIFAR-10's where `--data` (by default `PELLUCID_TEST_DATA`) has
`cifar-10-batches-bin/`, otherwise the phantom's, drawn here. The table has a row per check: what it compares, the
result, the tolerance, and whether that is ok, failed, or not run and why. The exit status is 1 where a check failed.
Checks that do not begin within the minutes are not run. `--toy` is the same at the size of a test, on a processor: it
shows that the script works, and nothing about an accelerator.

Reference and device compute in float32 without TF32. Ratios of speed have no tolerance: what is right depends on the
device.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from pellucid.attacks import Epsilon, pgd
from pellucid.attacks.under_attack import task_loss
from pellucid.cli.app import main as pellucid
from pellucid.data import materialize, open_dataset
from pellucid.models import create_model
from pellucid.models.inference import as_pixels
from pellucid.models.weights import load_model
from pellucid.training import Objective, load_recipe
from pellucid.training.distributed import BatchRandom
from pellucid.training.session import TrainingSession
from pellucid.types import Batch, InputSpec
from pellucid.verbs.attack import attack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLASSES = tuple("0123456789")
TOO_LONG = "takes too long for a test"
LONG = ("ara", "attack-explanation", "audit", "certify", "certify-explanation", "discover", "explain", "trust")


class NotRunError(Exception):
    """Why a check has nothing to show here."""


class Outcome(NamedTuple):
    """What came out, what would still do, and whether it does; no tolerance where a figure is only told."""

    result: str
    tolerance: str = ""
    ok: bool = True


class Row(NamedTuple):
    """One line of the table."""

    check: str
    compares: str
    result: str
    tolerance: str
    state: str


@dataclass
class Place:
    """Where the checks run, at which size, and what they share."""

    device: str
    folder: Path
    data: Path | None = None
    toy: bool = False
    deadline: float = field(default_factory=lambda: time.monotonic() + 480)

    @property
    def seconds_left(self) -> float:
        """Until no check begins any more."""
        return self.deadline - time.monotonic()

    @cached_property
    def batch(self) -> Batch:
        """Colour images of 32 × 32 with a class each, on the processor."""
        count = 8 if self.toy else 128
        spec = InputSpec.square(3, 32)
        if self.data is not None and (self.data / "cifar-10-batches-bin").is_dir():
            part = open_dataset("cifar10", self.data)["test"].limit(count)
            targets = torch.from_numpy(part.targets)
        else:
            part = open_dataset("phantom", options={"size": 32, "train": 1, "validation": 1, "test": count})["test"]
            targets = torch.arange(len(part)) % len(CLASSES)
        return Batch(as_pixels(materialize(part, spec)), targets, torch.arange(len(part)))

    @cached_property
    def phantom(self) -> list[str]:
        """The data of the commands."""
        test, train = (8, 16) if self.toy else (48, 256)
        options = {"size": 32, "train": train, "validation": 8, "test": test, "prevalence": 0.5}
        return ["--data", "phantom", *(f"--data-option={key}={value}" for key, value in options.items())]

    @cached_property
    def model(self) -> Path:
        """A network that was trained on the device."""
        train(self, "model", "khakzar2019-robust")
        return self.folder / "model"

    def network(self, activation: str = "relu") -> torch.nn.Module:
        """A fresh network on the processor, the same at every call."""
        torch.manual_seed(0)
        name = "small" if self.toy else "resnet44"
        options = {"classes": CLASSES, "task": "multiclass", "in_channels": 3, "size": 32, "activation": activation}
        return create_model(name, **options)

    def synchronize(self) -> None:
        """Wait for what the device has to do."""
        if self.device != "cpu":
            getattr(torch, self.device).synchronize()

    def seconds(self, do: Callable[[], object]) -> float:
        """The shortest of a few runs, after one that is not counted."""
        times = []
        for _ in range(2 if self.toy else 8):
            self.synchronize()
            started = time.perf_counter()
            do()
            self.synchronize()
            times.append(time.perf_counter() - started)
        return min(times[1:])


def command(place: Place, name: str, *arguments: str | Path) -> str:
    """Run a command of Pellucid in this process; returns what it printed.

    Raises:
        RuntimeError: it ended with another status than 0, with its last words.
    """
    output = io.StringIO()
    line = ["pellucid", name, *map(str, arguments), "--device", place.device]
    with patch.object(sys, "argv", line), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            pellucid()
        except SystemExit as ended:
            if ended.code not in (0, None):
                words = ended.code if isinstance(ended.code, str) else output.getvalue()
                raise RuntimeError(" ".join(words.split())[-300:]) from None
    return output.getvalue()


def train(place: Place, out: str, recipe: str, *arguments: str) -> None:
    settings = ["model.name=small", "model.size=32", "training.batch_size=16", "training.epochs=2"]
    if place.toy:
        settings.append("model.options={widths=[8, 8], blocks=[1, 1], strides=[1, 2]}")
    sets = [part for value in settings for part in ("--set", value)]
    command(place, "train", recipe, *place.phantom, *sets, *arguments, "--out", place.folder / out)


def run_command(name: str, *arguments: str, place: Place) -> Outcome:
    if place.toy and name in LONG:
        raise NotRunError(TOO_LONG)
    started = time.monotonic()
    command(place, name, place.model, *place.phantom, *arguments, "--out", place.folder / name)
    return Outcome(f"exit 0 after {time.monotonic() - started:.1f} s", "exit 0")


def run_training(recipe: str, *overrides: str, place: Place) -> Outcome:
    started = time.monotonic()
    out = "-".join([recipe, *overrides]).replace("=", "-").replace('"', "")
    train(place, out, recipe, *(part for value in overrides for part in ("--set", value)))
    return Outcome(f"finished after {time.monotonic() - started:.1f} s", "finished")


def run_study(place: Place) -> Outcome:
    if place.toy:
        raise NotRunError(TOO_LONG)
    sizes = ["data.options={size=32, train=16, validation=8, test=16, prevalence=0.5}", "settings.model.size=32"]
    less = ["seeds=[0]", "settings.training.epochs=1", "evaluation.trust.methods=[]", "evaluation.robustness.sizes=[]"]
    sets = [part for value in (*sizes, *less) for part in ("--set", value)]
    started = time.monotonic()
    command(place, "study", "demo", *sets, "--jobs", "1", "--out", place.folder / "study")
    return Outcome(f"exit 0 after {time.monotonic() - started:.1f} s", "exit 0")


def resume(place: Place) -> Outcome:
    """Broken off in its second epoch and resumed: the weights of the unbroken run."""
    real = TrainingSession._end_epoch

    def broken_off(session: TrainingSession, epoch: int, *arguments: object) -> bool:
        if epoch == 1:
            raise InterruptedError
        return real(session, epoch, *arguments)

    train(place, "whole", "woods2019-robust")
    with patch.object(TrainingSession, "_end_epoch", broken_off), contextlib.suppress(InterruptedError, RuntimeError):
        train(place, "broken", "woods2019-robust")
    train(place, "broken", "woods2019-robust", "--resume")
    pairs = zip(*(load_model(place.folder / name).state_dict().values() for name in ("whole", "broken")), strict=True)
    largest = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
    return Outcome(f"largest difference of a weight {largest:.1e}", "0", largest == 0)


def gradient(place: Place, device: str, recipe: str, *overrides: str, **changes: Any) -> Tensor:
    """The gradient of a recipe's objective by all weights, float64 on the processor; `changes` are those of `step`."""
    return step(place, device, recipe, *overrides, **changes)().to("cpu", torch.float64)


def step(
    place: Place,
    device: str,
    recipe: str,
    *overrides: str,
    precision: torch.dtype | None = None,
    channels_last: bool = False,
    compiled: bool = False,
) -> Callable[[], Tensor]:
    """A training step without its optimiser; gives the gradient by all weights."""
    activation = "half-huber" if "half-huber" in overrides else "relu"
    settings = load_recipe(recipe, [each for each in overrides if "=" in each])
    network = place.network(activation).to(device)
    batch = Batch(*(part.to(device) for part in place.batch[:3]))
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        batch = batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))
    objective = Objective(network, settings.objective, place.batch.targets).train()
    call: Callable[..., tuple[Tensor, dict[str, Tensor]]] = objective
    if compiled and place.toy:
        raise NotRunError(TOO_LONG)
    if compiled:  # a processor's code would have to be built first
        call = torch.compile(objective, backend="aot_eager" if device == "cpu" else "inductor")

    def run() -> Tensor:
        torch.manual_seed(0)
        # the penalty's outputs and the images attacked are drawn on the processor, the same for every device
        with torch.autocast(device, precision, enabled=precision is not None):
            loss, _ = call(batch, None, BatchRandom(3))
        parts = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    return run


def near(one: Tensor, other: Tensor, largest: float) -> Outcome:
    """Relative distance of two gradients."""
    distance = float((one - other).norm() / other.norm())
    cosine = float(torch.cosine_similarity(one, other, dim=0))
    return Outcome(f"relative distance {distance:.1e}, cosine {cosine:.6f}", f"≤ {largest:g}", distance <= largest)


def against_processor(recipe: str, *overrides: str, place: Place) -> Outcome:
    return near(gradient(place, place.device, recipe, *overrides), gradient(place, "cpu", recipe, *overrides), 1e-3)


def against_plain(largest: float, place: Place, **changes: object) -> Outcome:
    recipe = "woods2019-standard"
    return near(
        gradient(place, place.device, recipe, **changes),
        gradient(place, place.device, recipe),
        largest,
    )


def penalty_in_bfloat16(place: Place) -> Outcome:
    recipe = ("woods2019-robust", "objective.gradient_penalty.method='exact'")
    return near(
        gradient(place, place.device, *recipe, precision=torch.bfloat16), gradient(place, place.device, *recipe), 0.25
    )


def bounded_attack(place: Place) -> Outcome:
    """PGD from the image itself: few pixels may have a gradient so near 0 that another rounding turns its sign."""
    adversarial = []
    for device in ("cpu", place.device):
        network = place.network().to(device).eval()
        images, targets = place.batch.images.to(device), place.batch.targets.to(device)
        size = Epsilon(linf=4 / 255)
        adversarial.append(pgd(network, images, targets, loss=task_loss, eps=size, steps=5, random_start=False).cpu())
    share = float(((adversarial[0] - adversarial[1]).abs() > 1e-5).double().mean())
    return Outcome(f"{100 * share:.2f} % of the pixels differ", "≤ 2 %", share <= 0.02)


def smallest_attack(place: Place) -> Outcome:
    radii = []
    for device in ("cpu", place.device):
        network = place.network().to(device).eval()
        images = place.batch.images[:16].to(device)
        labels = network(images).argmax(1)  # a fresh network is right about nothing else
        radii.append(attack(network, images, labels, "tight").radius.cpu())
    both = radii[0].isfinite() & radii[1].isfinite()
    if not both.any():
        raise RuntimeError("found no perturbation on both")
    ratio = float((radii[1][both] / radii[0][both]).median())
    return Outcome(f"median ratio of {int(both.sum())} radii {ratio:.4f}", "0.98 to 1.02", 0.98 <= ratio <= 1.02)


def processes(backend: str, place: Place) -> Outcome:
    """Two processes train the network that one does, but for rounding: its batch norm is fixed."""
    if backend == "nccl" and (place.device != "cuda" or torch.cuda.device_count() < 2):
        raise NotRunError(f"needs two GPUs; found {torch.cuda.device_count()}")
    if place.toy:
        raise NotRunError(TOO_LONG)
    device = "cuda" if backend == "nccl" else "cpu"
    line = ["-m", "pellucid.cli.app", "train", "woods2019-robust", *place.phantom, "--device", device]
    # what a process draws by itself, or couples with its own images only, is left out
    alike = ("training.freeze_batch_norm=true", "augment.pad=0", "augment.flip=0")
    for value in ("model.name=small", "model.size=32", "training.epochs=1", "training.batch_size=16", *alike):
        line += ["--set", value]
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    weights = []
    for name, launch in (("one", []), ("two", together)):
        out = place.folder / f"{backend}-{name}"
        environment = os.environ | {"PELLUCID_PROGRESS": "0", "OMP_NUM_THREADS": "2"}
        done = subprocess.run(
            [sys.executable, *launch, *line, "--out", out],
            capture_output=True,
            text=True,
            env=environment,
            timeout=max(place.seconds_left, 1),
            check=False,
        )
        if done.returncode:
            raise RuntimeError(" ".join(done.stderr.split())[-300:])
        weights.append(torch.cat([part.double().flatten() for part in load_model(out).parameters()]))
    return near(weights[1], weights[0], 1e-3)


def ratio(
    recipe: str, *overrides: str, place: Place, than: tuple[str, ...] = ("woods2019-standard",), **changes: object
) -> Outcome:
    """How much longer a step takes than another on the device."""
    one = place.seconds(step(place, place.device, recipe, *overrides, **changes))  # type: ignore[arg-type]
    other = place.seconds(step(place, place.device, *than))
    return Outcome(f"{one / other:.2f} × ({one * 1e3:.1f} ms to {other * 1e3:.1f} ms)")


def against_processors_speed(place: Place) -> Outcome:
    if place.device == "cpu":
        raise NotRunError("the device is the processor")
    there, here = (place.seconds(step(place, d, "woods2019-robust")) for d in (place.device, "cpu"))
    return Outcome(f"{here / there:.1f} × faster ({there * 1e3:.1f} ms to {here * 1e3:.1f} ms)")


DIFFERENCE = "objective.gradient_penalty.method='finite-difference'"
SAME = "the device to the processor"
EXACT = "objective.gradient_penalty.method='exact'"
ADVERSARIAL = ("khakzar2019-robust", "objective.attack.random_start=false", "objective.loss=auto")
MAPS = "cam,grad-cam,integrated-gradients,smoothgrad,adversarial"
COMMANDS: dict[str, list[str]] = {
    "evaluate": ["--attack", "pgd:linf=1/255", "--steps", "3"],
    "localize": ["--method", "cam,saliency"],
    "ara": ["--kind", "attack"],
    "certify": ["--sigma", "0.25", "--samples", "100", "--attack-samples", "2"],
    "explain": ["--method", MAPS],
    "attack-explanation": ["--method", "saliency", "--steps", "3"],
    "certify-explanation": ["--method", "saliency", "--samples", "30", "--attack-cells", "0", "--limit", "4"],
    "trust": ["--method", "saliency", "--attack-steps", "2", "--attacked", "2"],
    "audit": ["--quick", "--method", "saliency", "--corrupted", "2"],
    "discover": [],
}
CHECKS: list[tuple[str, str, Callable[..., Outcome]]] = [
    ("gradient, plain step", SAME, partial(against_processor, "woods2019-standard")),
    ("gradient, adversarial step", SAME, partial(against_processor, *ADVERSARIAL)),
    ("gradient, penalty, exact", SAME, partial(against_processor, "woods2019-robust", EXACT)),
    ("gradient, penalty, difference", SAME, partial(against_processor, "woods2019-robust", "half-huber", DIFFERENCE)),
    ("attack within a bound (pgd)", SAME, bounded_attack),
    ("smallest perturbation (tight)", SAME, smallest_attack),
    ("bfloat16, plain step", "gradient to float32", partial(against_plain, 0.25, precision=torch.bfloat16)),
    ("bfloat16, penalty", "gradient to float32", penalty_in_bfloat16),
    ("channels-last", "gradient to contiguous", partial(against_plain, 1e-3, channels_last=True)),
    ("compiled step", "gradient to eager", partial(against_plain, 1e-3, compiled=True)),
    ("train, bfloat16", "", partial(run_training, "woods2019-robust", "training.mixed_precision=bf16")),
    ("train, channels-last", "", partial(run_training, "woods2019-standard", "training.channels_last=true")),
    ("train, broken off and resumed", "weights to the unbroken run's", resume),
    *((name, "", partial(run_command, name, *options)) for name, options in COMMANDS.items()),
    ("study", "", run_study),
    ("two processes, gloo", "weights to one process's", partial(processes, "gloo")),
    ("two processes, nccl", "weights to one process's", partial(processes, "nccl")),
    ("speed, penalty, exact", "step to the plain one", partial(ratio, "woods2019-robust", EXACT)),
    (
        "speed, penalty, difference",
        "step to the plain one",
        partial(ratio, "woods2019-robust", "half-huber", DIFFERENCE, than=("woods2019-standard", "half-huber")),
    ),
    ("speed, half-Huber", "step to ReLU's", partial(ratio, "woods2019-standard", "half-huber")),
    ("speed, bfloat16", "step to float32", partial(ratio, "woods2019-standard", precision=torch.bfloat16)),
    ("speed, channels-last", "step to contiguous", partial(ratio, "woods2019-standard", channels_last=True)),
    ("speed, compiled", "step to eager", partial(ratio, "woods2019-standard", compiled=True)),
    ("speed, penalty step", SAME, against_processors_speed),
]


def rows(place: Place, only: str = "") -> Iterator[Row]:
    """The table, check by check; those whose name has `only` in it."""
    for name, compares, check in CHECKS:
        if only not in name:
            continue
        try:
            if place.seconds_left <= 0:
                raise NotRunError("no time was left")
            outcome = check(place=place)
            yield Row(name, compares, outcome.result, outcome.tolerance, "ok" if outcome.ok else "failed")
        except NotRunError as reason:
            yield Row(name, compares, "", "", f"not run: {reason}")
        except Exception as error:  # one that fails must not hide the others
            yield Row(name, compares, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", "", "failed")


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cuda", "mps", "cpu")
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("PELLUCID_TEST_DATA"))
    parser.add_argument("--only", default="", help="checks whose name has this in it")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--toy", action="store_true")
    chosen = parser.parse_args(arguments)
    os.environ["PELLUCID_PROGRESS"] = "0"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    here = torch.cuda.get_device_name() if chosen.device == "cuda" else chosen.device
    print(f"{here}, torch {torch.__version__}, {'toy' if chosen.toy else 'full'} size", flush=True)
    print(f"{'check':38}{'compares':38}{'result':60}{'tolerance':14}", flush=True)
    table = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(chosen.device, Path(folder), chosen.data, chosen.toy, started + chosen.minutes * 60)
        for row in rows(place, chosen.only):
            table.append(row)
            print(f"{row.check:38}{row.compares:38}{row.result:60}{row.tolerance:14}{row.state}", flush=True)
    failed = [row.check for row in table if row.state == "failed"]
    states = {state: sum(row.state.startswith(state) for row in table) for state in ("ok", "failed", "not run")}
    print(", ".join(f"{count} {state}" for state, count in states.items()), f"in {time.monotonic() - started:.0f} s")
    return 1 if failed or not table else 0


if __name__ == "__main__":
    sys.exit(main())
