"""How much memory an explanation takes: DenseNet-121, a 224 × 224 radiograph, Pellucid beside captum called directly.

Each is run in a process of its own, whose largest resident memory is told. captum's integrated gradients and SmoothGrad
put all their points through the network at once unless they are given an internal batch size; Pellucid cuts them to a
budget (1 GiB on a CPU) by itself. Writes results/explain_memory.csv.

    python benchmarks/explain_memory.py [--images 1]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency

import table
from pellucid.explainers import explain
from pellucid.models import create_model

RESULTS = Path(__file__).parent / "results" / "explain_memory.csv"
STEPS, SAMPLES = 50, 32  # Pellucid's defaults, given to captum too


def network():
    torch.manual_seed(0)
    return create_model("densenet121", classes=[str(i) for i in range(14)], task="multilabel", size=224).eval()


def one_pass(model, images):
    images = images.clone().requires_grad_()
    torch.autograd.grad(model(images[:1])[:, 0].sum(), images)


RUNS = {
    "one forward and backward pass": one_pass,
    "pellucid integrated-gradients": lambda m, x: explain("integrated-gradients", m, x, 0),
    "captum IntegratedGradients": lambda m, x: IntegratedGradients(m).attribute(x, target=0, n_steps=STEPS),
    "pellucid smoothgrad": lambda m, x: explain("smoothgrad", m, x, 0),
    "captum NoiseTunnel(Saliency)": lambda m, x: NoiseTunnel(Saliency(m)).attribute(
        x.clone().requires_grad_(), nt_type="smoothgrad", nt_samples=SAMPLES, target=0
    ),
    "pellucid grad-cam, all classes": lambda m, x: explain("grad-cam", m, x, "all"),
    "pellucid occlusion": lambda m, x: explain("occlusion", m, x, 0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--run", help="used by the script itself: run this one and print its memory")
    given = parser.parse_args()
    if given.run:
        torch.set_num_threads(1)
        model, images = network(), torch.rand(given.images, 1, 224, 224)
        started = time.perf_counter()
        RUNS[given.run](model, images)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, time.perf_counter() - started)
        return
    rows = []
    for name in RUNS:
        command = [sys.executable, __file__, "--run", name, "--images", str(given.images)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        peak, seconds = (float(v) for v in told.stdout.split()[-2:]) if told.returncode == 0 else (None, None)
        rows.append(
            {
                "run": name,
                "images": given.images,
                "largest resident memory, GiB": "out of memory" if peak is None else f"{peak:.2f}",
                "seconds": "" if seconds is None else f"{seconds:.1f}",
                "machine": table.machine(),
                "versions": table.versions("torch", "captum", "pellucid"),
            }
        )
        print(*list(rows[-1].values())[:4], sep="  ", flush=True)
    table.write(RESULTS, rows)


if __name__ == "__main__":
    main()
