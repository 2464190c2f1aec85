"""CAM and Grad-CAM of all classes at once, beside captum and torchcam, which take one class at a time.

DenseNet-121, 14 classes, 8 images of 224 × 224, one thread, everything in one process; the order of the
methods changes from round to round and each one's fastest round counts. All read the same last feature map.
captum runs the network again for each class; torchcam needs not, if its graph is kept (retain_graph), and
is used so. Writes results/activation_maps.csv.

    python benchmarks/activation_maps.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from captum.attr import LayerGradCam
from torchcam.methods import GradCAM

import table
from pellucid.explain import class_activation_maps, grad_cam_maps
from pellucid.models import create_model

CLASSES = [str(index) for index in range(14)]
RESULTS = Path(__file__).parent / "results" / "activation_maps.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("densenet121", classes=CLASSES, task="multilabel", in_channels=3).eval()
    images = torch.rand(8, 3, 224, 224)
    layer = model.backbone.features.relu5

    def forward():
        with torch.no_grad():
            model(images)

    captum = LayerGradCam(model, layer)

    def torchcam(classes):
        with GradCAM(model, target_layer=layer) as extractor:
            logits = model(images.clone().requires_grad_())
            for c in range(classes):
                extractor(c, logits, normalized=False, retain_graph=c < classes - 1)

    methods = {
        "forward pass alone": (0, forward),
        "pellucid CAM": (14, lambda: class_activation_maps(model, images)),
        "pellucid Grad-CAM": (14, lambda: grad_cam_maps(model, images)),
        "captum LayerGradCam": (1, lambda: captum.attribute(images, target=0)),
        "captum LayerGradCam, class by class": (
            14,
            lambda: [captum.attribute(images, target=c) for c in range(14)],
        ),
        "torchcam GradCAM": (1, lambda: torchcam(1)),
        "torchcam GradCAM, one graph": (14, lambda: torchcam(14)),
    }
    seconds = dict.fromkeys(methods, float("inf"))
    names = list(methods)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            methods[name][1]()
            if turn:  # the first round warms up
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    base = seconds["forward pass alone"]
    place = {"machine": table.machine(), "versions": table.versions("torch", "captum", "torchcam", "pellucid")}
    rows = []
    for name, (count, _) in methods.items():
        ratio = seconds[name] / base
        print(f"{name:36} {count:2} classes  {seconds[name]:.3f} s  {ratio:.2f} × forward")
        figures = {"seconds": f"{seconds[name]:.4f}", "ratio to forward": f"{ratio:.3f}", "rounds": rounds}
        rows.append({"method": name, "classes": count, **figures, **place})
    table.write(RESULTS, rows)


if __name__ == "__main__":
    main()
