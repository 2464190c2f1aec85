"""The sizes that COCO's annotations give images, held against the images' files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.decoding.image_header import frame_fault, frame_orientation, read_image_header, turn_points
from pellucid.data.decoding.orientation import UPRIGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from pellucid.data.dataset import SourceFile
    from pellucid.data.readers.coco.annotations import Instances


@dataclass(frozen=True)
class Frames:
    """What came out for the images that have annotations and a file.

    Attributes:
        turns: by the image's place, the orientation by which its annotations are to be turned to be upright; only
            images that are annotated as they are stored, on their side.
        faults: by the image's place, why its annotations cannot be its own.
    """

    turns: dict[int, int] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)

    def turn_boxes(self, boxes: npt.NDArray[np.float64], image: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Boxes (M, 4) of the images `image` (M,), from fractions of the frames to fractions of the upright images."""
        if not self.turns:
            return boxes
        turned = boxes.copy()
        for i in np.flatnonzero(np.isin(image, list(self.turns))).tolist():
            start, size = boxes[i, :2], boxes[i, 2:]
            corners = turn_points(np.stack([start, start + size]), self.turns[int(image[i])])
            low = corners.min(axis=0)
            turned[i] = [*low, *(corners.max(axis=0) - low)]
        return turned


def read_frames(instances: Instances, files: Mapping[str, SourceFile]) -> Frames:
    """Hold the size of every image that has annotations against its file's header."""
    frames = Frames()
    for row in np.unique(instances.image).tolist():
        file = files.get(instances.names[row])
        header = None if file is None else read_image_header(file.path)
        if header is None:
            continue  # what is wrong with a file is said when it is decoded
        frame = instances.frames[row].tolist()
        orientation = frame_orientation(frame, header)
        if orientation is None:
            frames.faults[row] = frame_fault(frame, header)
        elif orientation != UPRIGHT:
            frames.turns[row] = orientation
    return frames
