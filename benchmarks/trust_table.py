"""What a table of trust costs beside the passes through the network that it takes, in one process.

`pellucid.trust` of the `small` network on images of the phantom; a hook counts the rows (images) that go through the
network without derivatives and with them. Then as many rows alone, in batches of 64: forward, or forward and backward
to the images. Processor time of one thread. The ratio is the table's time over that of its passes, of the fastest round
of each. Writes results/trust_table.csv.

    python benchmarks/trust_table.py [--images 8] [--rounds 1]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import pellucid as pl
import table
from pellucid.models import create_model
from pellucid.models.classifier import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "trust_table.csv"
SIDE, BATCH = 64, 64
METHODS = ("cam", "grad-cam", "saliency")


def spent(run: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def passes(model: torch.nn.Module, rows: dict[bool, int]) -> None:
    """So many rows through the network, without and with the gradient to the images."""
    images = torch.rand(BATCH, 1, SIDE, SIDE)
    with frozen(model):
        for first in range(0, rows[False], BATCH):
            with torch.inference_mode():
                model(images[: min(BATCH, rows[False] - first)])
        for first in range(0, rows[True], BATCH):
            batch = images[: min(BATCH, rows[True] - first)].clone().requires_grad_()
            torch.autograd.grad(model(batch).sum(), batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = pl.dataset(
        "phantom", split="test", size=SIDE, train=1, validation=1, test=4 * options.images, prevalence=0.5
    )
    model = create_model("small", classes=list(data.classes), task="multilabel", size=SIDE).eval()
    counted = {False: 0, True: 0}
    first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))  # maps need no logits

    def count(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        counted[torch.is_grad_enabled()] += len(inputs[0])

    rows = []
    for method in METHODS:
        counted.update({False: 0, True: 0})
        hook = first.register_forward_pre_hook(count)
        whole = spent(lambda m=method: pl.trust(model, data, [m], limit=options.images))
        hook.remove()
        for _ in range(options.rounds - 1):
            whole = min(whole, spent(lambda m=method: pl.trust(model, data, [m], limit=options.images)))
        floor = min(spent(lambda: passes(model, counted)) for _ in range(options.rounds))
        rows.append(
            {
                "method": method,
                "images": options.images,
                "rows forward": counted[False],
                "rows with gradient": counted[True],
                "seconds": f"{whole:.2f}",
                "seconds of the passes": f"{floor:.2f}",
                "ratio to passes": f"{whole / floor:.2f}",
                "rounds": options.rounds,
                "machine": table.machine(),
                "versions": table.versions("torch", "pellucid"),
            }
        )
        print(*rows[-1].values(), sep="  ", flush=True)
    table.write(RESULTS, rows)


if __name__ == "__main__":
    main()
