"""The pictures of the page: images and their explanations as PNG, made ahead for the images that come next."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from pellucid.annotate.worker import SOON, WANTED, Picture, PictureCache, Worker
from pellucid.explain import explain
from pellucid.models.inference import as_pixels
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.types import Pixels

HEATMAPS = ("cam", "grad-cam", "saliency")
RHOS = (0.025, 0.05, 0.1, 0.2)
LARGEST = 2048  # pixels of the longer side of an image as the page gets it
SHOWN = 3  # classes whose explanations are made ahead: the most probable ones
ALL_AT_ONCE = ("cam", "grad-cam")  # methods that give every class for the cost of one

Key = tuple[int, str, int, float]  # row, method, class, ρ (0 for heat maps)


class Explanations:
    """Explanations of the images of a dataset by one network, kept as PNG.

    Args:
        dataset: the images.
        pictures: the same at the network's size, (N, C, S, S).
        network: what explains itself.
        probabilities: of the images, (N, K).
        rhos: sizes of the adversarial explanations.
        memory: bytes of finished pictures to keep.
    """

    def __init__(
        self,
        dataset: Dataset,
        pictures: Pixels,
        network: ConvolutionalClassifier,
        probabilities: npt.NDArray[np.floating],
        *,
        rhos: Sequence[float] = RHOS,
        memory: int = 256 << 20,
    ) -> None:
        self._dataset, self._pictures, self._network, self._probabilities = dataset, pictures, network, probabilities
        self.rhos = tuple(rhos)
        self.methods = ("adversarial", *_possible(network))
        self.fingerprint = fingerprint_of(network)
        self.worker = Worker()
        self.cache = PictureCache(memory)
        self._pending: dict[Key, Future[Any]] = {}

    def pixels(self, row: int) -> Picture:
        """An image at its native size, 8 bits, its longer side at most `LARGEST` pixels."""
        key = (row, "pixels", 0, 0.0)
        found = self.cache.get(key)
        if found is None:
            found = _picture(to_8_bit(self._dataset.read(row)), f"{self._dataset.fingerprint}|{row}", largest=LARGEST)
            self.cache.put(key, found)
        return found

    def get(self, row: int, method: str, class_index: int, rho: float = 0.0, urgency: int = WANTED) -> Future[Picture]:
        """An explanation, now if it is there, otherwise as soon as it is made.

        Args:
            row: of the dataset.
            method: one of `methods`.
            class_index: the class explained.
            rho: of `adversarial`, one of `rhos`.
            urgency: of the work, as in `worker`.
        """
        key: Key = (row, method, class_index, rho)
        found = self.cache.get(key)
        if found is not None:
            ready: Future[Picture] = Future()
            ready.set_result(found)
            return ready
        waiting = self._pending.get(key)
        if waiting is not None and (urgency != WANTED or waiting.running()):
            return waiting
        made = self.worker.submit(lambda: self._make(key), urgency)
        self._pending[key] = made
        made.add_done_callback(lambda _: self._pending.pop(key, None))
        return made

    def make_ahead(self, rows: Sequence[int]) -> None:
        """Have the explanations of the most probable classes of these images made, in this order."""
        for row in rows:
            if self.cache.get((row, "pixels", 0, 0.0)) is None:
                self.worker.submit(lambda row=row: self.pixels(row), SOON)  # type: ignore[misc]
            for class_index in np.argsort(-self._probabilities[row], kind="stable")[:SHOWN].tolist():
                for method in self.methods:
                    for rho in self.rhos if method == "adversarial" else (0.0,):
                        self.get(row, method, class_index, rho, SOON)

    def _make(self, key: Key) -> Picture:
        found = self.cache.get(key)  # made meanwhile, with other classes or for somebody else
        if found is not None:
            return found
        row, method, class_index, rho = key
        batch = as_pixels(self._pictures[row][None], device_of(self._network))
        if method in ALL_AT_ONCE:
            maps = explain(method, self._network, batch, "all").maps[0].float().cpu().numpy()
            for other, heat in enumerate(maps):
                self.cache.put((row, method, other, rho), self._heat(heat, (row, method, other, rho)))
            return self._heat(maps[class_index], key)
        made = explain(method, self._network, batch, class_index, **({"rho": rho} if rho else {}))
        if made.kind == "heatmap":
            picture = self._heat(made.maps[0].float().cpu().numpy(), key)
        else:
            found_by: Any = made
            headers = {
                "X-Before": f"{float(found_by.confidence_before[0]):.6f}",
                "X-After": f"{float(found_by.confidence[0]):.6f}",
                "X-Rms": f"{float(found_by.rms[0]):.6f}",
            }
            image = (made.maps[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            picture = _picture(np.moveaxis(image, 0, 2).squeeze(), self._name(key), headers)
        self.cache.put(key, picture)
        return picture

    def _heat(self, heat: npt.NDArray[np.float32], key: Key) -> Picture:
        low, high = float(heat.min()), float(heat.max())
        scaled = (heat - low) * (255 / (high - low) if high > low else 0.0)
        headers = {"X-Low": f"{low:.6g}", "X-High": f"{high:.6g}"}
        return _picture(np.round(scaled).astype(np.uint8), self._name(key), headers)

    def _name(self, key: Key) -> str:
        return f"{self.fingerprint}|{self._dataset.card.name}|{self._dataset.ids[key[0]]}|{key[1:]}"


def fingerprint_of(network: torch.nn.Module) -> str:
    """A hash of a network's weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
            if tensor.ndim
            else str(tensor.item()).encode()
        )
    return digest.hexdigest()[:16]


def to_8_bit(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pixels over the full range of their type as uint8."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _possible(network: ConvolutionalClassifier) -> list[str]:
    """The heat maps that a network can serve."""
    spec = network.input_spec
    nothing = torch.zeros((0, spec.channels, spec.size, spec.size), device=device_of(network))
    possible = []
    for method in HEATMAPS:
        try:
            explain(method, network, nothing, 0)
        except InputError:
            continue
        possible.append(method)
    return possible


def _picture(
    pixels: npt.NDArray[np.uint8], name: str, headers: dict[str, str] | None = None, largest: int | None = None
) -> Picture:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if largest is not None and max(image.size) > largest:
        image.thumbnail((largest, largest), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)  # the page is near: time counts, not size
    return Picture(stream.getvalue(), f'"{hashlib.sha256(name.encode()).hexdigest()[:24]}"', headers or {})
