"""The images that a loop's report shows: what the networks look at before and after, by a stated rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used
import torch

from pellucid.data.decoding.image import in_8_bits
from pellucid.explainers import explain
from pellucid.models.inference import as_pixels, probabilities
from pellucid.report.pictures.panels import Panel
from pellucid.types import Box, device_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.annotation_loop.measures import LoopData
    from pellucid.study.config import EvaluationSettings


def loop_panels(
    settings: EvaluationSettings, data: LoopData, networks: Mapping[str, ConvolutionalClassifier]
) -> list[Panel]:
    """The first images that show both the finding and the marker, with the maps of each network.

    Args:
        settings: how many panels, and which maps.
        data: the images.
        networks: by what they are called.
    """
    shortcut = data.shortcut
    finding = data.test.test.classes[shortcut.output]
    panels = []
    for row in range(min(settings.panels, len(shortcut.images))):
        pixels = shortcut.images[row]
        maps, by_network = {}, {}
        for name, network in networks.items():
            batch = as_pixels(pixels[None], device_of(network))
            with torch.no_grad():
                by_network[name] = float(probabilities(network(batch).cpu().numpy(), network.task)[0, shortcut.output])
            for method in settings.methods:
                maps[name, method] = explain(method, network, batch, shortcut.output).maps[0].cpu().numpy()
        panels.append(
            Panel(
                image=in_8_bits(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)),
                boxes=_around(shortcut.marker[row]),
                maps=maps,
                target="shown",
                class_name=finding,
                image_id=f"image {row + 1} of {len(shortcut.images)}",
                rule="the first test images that show both",
                mask=shortcut.finding[row],
                probabilities=by_network,
            )
        )
    return panels


def _around(mask: npt.NDArray[np.bool_]) -> list[Box]:
    """The rectangle around the set pixels, one pixel larger on each side."""
    rows, columns = scipy.ndimage.find_objects(scipy.ndimage.binary_dilation(mask).astype(np.int8))[0]
    return [Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)]
