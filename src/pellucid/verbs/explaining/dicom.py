"""What `explain` writes of where heat maps are hot, and of DICOM files as objects for a PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.data.dicom.file import DicomPixels, read_dicom
from pellucid.report.dicom.export import DicomWriter
from pellucid.report.pictures.heat_boxes import box_rows, boxes_of
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.verbs.input_images import InputImage
    from pellucid.verbs.session import Model

    Maps = Mapping[tuple[str, str], npt.NDArray[np.floating]]


FORMATS = ("png", "dicom")


class DicomOutput:
    """Writes the heat maps of one image after the other as DICOM.

    Args:
        writers: by the names of the images' outputs.
    """

    def __init__(self, writers: Mapping[str, DicomWriter]) -> None:
        self._writers = writers

    def write(self, image: InputImage, maps: Maps, folder: Path) -> list[dict[str, Any]]:
        """Write the objects of an image to a folder; what explain.json says of them."""
        writer, how = self._writers[image.name], image.reading or DicomPixels()
        pixels = read_dicom(writer.path, window=how.window, frame=how.frame)  # as the network saw it
        return writer.write(maps, pixels, folder, image.name, image.placement)


def dicom_output(output: str, model: Model, images: Sequence[InputImage], heat: Sequence[str]) -> DicomOutput | None:
    """What writes DICOM objects, if they are asked for; all that cannot be is refused here, before any work.

    Args:
        output: `png`, or `dicom` for DICOM objects as well.
        model: what explains the images.
        images: to write objects for.
        heat: the heat maps that there will be.

    Raises:
        InputError: an unknown format; images that are no DICOM files; no heat map to write; a missing extra.
    """
    if output not in FORMATS:
        raise InputError(f"--format must be png or dicom; found {output!r}.")
    if output == "png":
        return None
    if not heat:
        raise InputError("--format dicom writes heat maps: name one with --method, as cam.")
    fingerprint = str(model.card.get("weights_sha256", "unknown"))[:12]
    writers = {}
    for image in images:
        if image.dicom is None:
            raise InputError(
                f"{image.source} is no DICOM file: --format dicom writes objects of the study and patient that the "
                "image is of, which other files do not say. Leave --format out."
            )
        writers[image.name] = DicomWriter.of(image.dicom.path, fingerprint)
    return DicomOutput(writers)


def found_boxes(image: InputImage, maps: Maps) -> list[dict[str, Any]]:
    """The rows of boxes.csv of an image."""
    spacing = None if image.dicom is None else image.dicom.spacing
    between = None if spacing is None else (spacing.row, spacing.column)
    return box_rows(boxes_of(maps, image.placement), image.source, between, "" if spacing is None else spacing.source)
