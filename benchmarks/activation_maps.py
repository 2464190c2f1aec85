"""CAM and Grad-CAM of all classes at once, beside captum, torchcam and pytorch-grad-cam: one class at a time.

DenseNet-121, 14 classes, images of 224 × 224, one thread, everything in one process; the order of the methods changes
from round to round and each one's fastest round counts, in processor time. All read the same last feature map. captum
runs the network again for each class; torchcam needs not, if its graph is kept (retain_graph), and is used so;
pytorch-grad-cam goes back through the whole network for each class, and enlarges its maps to the image's size, which
the others do not. It is measured where it is installed (grad-cam, with opencv and torchvision), and at most once a
round. Writes results/activation_maps.csv.

    python benchmarks/activation_maps.py [--rounds 3] [--images 2]

Beside pytorch-grad-cam, which keeps whole graphs, 8 images took 15 GB.
"""

from __future__ import annotations

import argparse
import gc
import time
from pathlib import Path

import torch
from captum.attr import LayerGradCam
from torchcam.methods import GradCAM

import table
from pellucid.explainers import class_activation_maps, grad_cam_maps
from pellucid.models import create_model

CLASSES = [str(index) for index in range(14)]
KEPT = []  # declared operators, which vanish with the object that declared them
RESULTS = Path(__file__).parent / "results" / "activation_maps.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2)
    rounds, count = (given := parser.parse_args()).rounds, given.images
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("densenet121", classes=CLASSES, task="multilabel", in_channels=3).eval()
    images = torch.rand(count, 3, 224, 224)
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

    theirs = pytorch_grad_cam()

    def grad_cam_package(classes):
        package, target = theirs
        with package.GradCAM(model=model, target_layers=[layer]) as extractor:
            for c in range(classes):
                extractor(input_tensor=images, targets=[target(c)] * len(images))

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
    packages = ["torch", "captum", "torchcam", "pellucid"]
    if theirs:
        methods["pytorch-grad-cam GradCAM"] = (1, lambda: grad_cam_package(1))
        methods["pytorch-grad-cam GradCAM, class by class"] = (14, lambda: grad_cam_package(14))
        packages.append("grad-cam")
    seconds = dict.fromkeys(methods, float("inf"))
    names = list(methods)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            gc.collect()  # graphs in reference cycles
            start = time.process_time()
            methods[name][1]()
            if turn:  # the first round warms up
                seconds[name] = min(seconds[name], time.process_time() - start)
    base = seconds["forward pass alone"]
    place = {"machine": table.machine(), "versions": table.versions(*packages)}
    rows = []
    for name, (classes, _) in methods.items():
        ratio = seconds[name] / base
        print(f"{name:42} {classes:2} classes  {seconds[name]:.3f} s  {ratio:.2f} × forward")
        figures = {
            "seconds": f"{seconds[name]:.4f}",
            "ratio to forward": f"{ratio:.3f}",
            "rounds": rounds,
            "images": count,
        }
        rows.append({"method": name, "classes": classes, **figures, **place})
    table.write(RESULTS, rows)


def pytorch_grad_cam():
    """The package and its target, or None where it is not installed.

    It imports torchvision, of which it uses nothing here. Where torchvision's compiled operators do not fit torch, it
    cannot be imported unless two of them are declared; they are never called.
    """
    try:
        torch.ops.torchvision.nms  # noqa: B018 (there if torchvision was built for this torch)
    except (AttributeError, RuntimeError):
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)
    try:
        import pytorch_grad_cam as package  # noqa: PLC0415
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: PLC0415
    except ImportError as error:
        print(f"pytorch-grad-cam is left out: {error}")
        return None
    return package, ClassifierOutputTarget


if __name__ == "__main__":
    main()
