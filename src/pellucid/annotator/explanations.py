"""The pictures of the page: images and their explanations as PNG, made ahead for the images that come next."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from pellucid.annotator.worker import SOON, WANTED, Picture, PictureCache, Worker
from pellucid.explainers import explain
from pellucid.explainers.fitting import fitting_methods
from pellucid.explainers.registry import explains_all_classes_at_once
from pellucid.models.inference import as_pixels
from pellucid.models.weights import tensors_sha256
from pellucid.types import device_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import AnyClassifier
    from pellucid.types import Pixels

RHOS = (0.025, 0.05, 0.1, 0.2)
LARGEST = 2048  # pixels of the longer side of an image as the page gets it
SHOWN = 3  # classes whose explanations are made ahead: the most probable ones


class ExplanationPictures:
    """Explanations of the images of a dataset by one network, kept as PNG.

    Args:
        dataset: the images.
        pictures: the same at the network's size, (N, C, H, W).
        network: what explains itself.
        probabilities: of the images, (N, K).
        rhos: sizes of the adversarial explanations.
        memory: bytes of finished pictures to keep.
    """

    def __init__(
        self,
        dataset: Dataset,
        pictures: Pixels,
        network: AnyClassifier,
        probabilities: npt.NDArray[np.floating],
        *,
        rhos: Sequence[float] = RHOS,
        memory: int = 256 << 20,
    ) -> None:
        self._dataset, self._pictures, self._network, self._probabilities = dataset, pictures, network, probabilities
        self.rhos = tuple(rhos)
        self.methods = ("adversarial", *fitting_methods(network))
        self.fingerprint = tensors_sha256(network)[:16]
        self.worker = Worker()
        self.cache = PictureCache(memory)
        self._ahead: set[int] = set()  # rows whose explanations wait to be made

    def pixels(self, row: int) -> Picture:
        """An image at its native size, 8 bits, its longer side at most `LARGEST` pixels."""
        key = (row, "pixels", 0, 0.0)
        picture = self.cache.get(key)
        if picture is None:
            picture = _picture(to_8_bit(self._dataset.read(row)), largest=LARGEST)
            self.cache.put(key, picture)
        return picture

    def get(self, row: int, method: str, class_index: int, rho: float = 0.0) -> Future[Picture]:
        """An explanation, now if it is there, otherwise as soon as it is made.

        Args:
            row: of the dataset.
            method: one of `methods`.
            class_index: the class explained.
            rho: of `adversarial`, one of `rhos`.
        """
        picture = self.cache.get((row, method, class_index, rho))
        if picture is not None:
            ready: Future[Picture] = Future()
            ready.set_result(picture)
            return ready
        return self.worker.submit(lambda: self._make(row, method, (class_index,), rho)[0], WANTED)

    def make_ahead(self, rows: Sequence[int]) -> None:
        """Have the explanations of the most probable classes of these images made, the cheap ones of all first."""
        new = [row for row in rows if row not in self._ahead]
        self._ahead |= set(new)
        work = [(method, rho) for method in reversed(self.methods) for rho in self._sizes(method)]
        for row in new:
            self.worker.submit(partial(self.pixels, row), SOON)
        for method, rho in work:
            for row in new:
                likeliest = np.argsort(-self._probabilities[row], kind="stable")[:SHOWN].tolist()
                self.worker.submit(partial(self._make, row, method, likeliest, rho), SOON)
        for row in new:  # when all is made: what the cache lost by then is made again if the image comes again
            self.worker.submit(partial(self._ahead.discard, row), SOON)

    def _sizes(self, method: str) -> tuple[float, ...]:
        return self.rhos if method == "adversarial" else (0.0,)

    def _make(self, row: int, method: str, classes: Sequence[int], rho: float) -> list[Picture]:
        """Explanations of some classes of one image, in common batches; those that are there are not made again."""
        cached = {c: self.cache.get((row, method, c, rho)) for c in classes}
        there = {c: picture for c, picture in cached.items() if picture is not None}
        missing = [c for c in classes if c not in there]
        if missing:
            batch = as_pixels(self._pictures[row][None], device_of(self._network))
            if explains_all_classes_at_once(method, self._network):
                maps = explain(method, self._network, batch, "all").maps[0].float().cpu().numpy()
                pictures = {c: _heat(heat) for c, heat in enumerate(maps)}
            else:
                pictures = self._explained(batch, method, missing, rho)
            for class_index, picture in pictures.items():
                self.cache.put((row, method, class_index, rho), picture)
            there |= pictures
        return [there[c] for c in classes]

    def _explained(self, batch: Tensor, method: str, classes: Sequence[int], rho: float) -> dict[int, Picture]:
        """Explanations by a method that takes a batch with a class each."""
        options: dict[str, Any] = {"rho": rho} if method == "adversarial" else {}
        aims = torch.tensor(classes, device=batch.device)
        explanation: Any = explain(method, self._network, batch.expand(len(classes), -1, -1, -1), aims, **options)
        pictures = {}
        for i, class_index in enumerate(classes):
            if explanation.kind == "heatmap":
                pictures[class_index] = _heat(explanation.maps[i].float().cpu().numpy())
                continue
            headers = {
                "X-Before": f"{float(explanation.confidence_before[i]):.6f}",
                "X-After": f"{float(explanation.confidence[i]):.6f}",
                "X-Rms": f"{float(explanation.rms[i]):.6f}",
            }
            image = (explanation.maps[i].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            pictures[class_index] = _picture(np.moveaxis(image, 0, 2).squeeze(), headers)
        return pictures


def to_8_bit(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pixels over the full range of their type as uint8."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _heat(heat: npt.NDArray[np.float32]) -> Picture:
    low, high = float(heat.min()), float(heat.max())
    scaled = (heat - low) * (255 / (high - low) if high > low else 0.0)
    return _picture(np.round(scaled).astype(np.uint8), {"X-Low": f"{low:.6g}", "X-High": f"{high:.6g}"})


def _picture(
    pixels: npt.NDArray[np.uint8], headers: dict[str, str] | None = None, largest: int | None = None
) -> Picture:
    """A PNG whose tag follows from all that is sent, so that a browser never shows one of other images or networks."""
    headers = headers or {}
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if largest is not None and max(image.size) > largest:
        image.thumbnail((largest, largest), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)  # the page is near: time counts, not size
    png = stream.getvalue()
    return Picture(png, f'"{hashlib.sha256(png + repr(headers).encode()).hexdigest()[:24]}"', headers)
