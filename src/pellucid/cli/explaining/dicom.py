"""What `pellucid explain` writes of where heat maps are hot, and with --format dicom as objects for a PACS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.report.pictures.heat_boxes import box_rows, boxes_of
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.cli.input_images import InputImage
    from pellucid.report.dicom.export import DicomWriter

    Maps = Mapping[tuple[str, str], npt.NDArray[np.floating]]

FORMATS = ("png", "dicom")


class DicomOutput:
    """Writes the heat maps of one image after the other as DICOM.

    Args:
        writers: by the names of the images' outputs.
        out: the folder to write to.
    """

    def __init__(self, writers: Mapping[str, DicomWriter], out: Path) -> None:
        self._writers, self._out = writers, out

    def write(self, subject: InputImage, maps: Maps) -> list[dict[str, Any]]:
        """Write the objects of an image; what explain.json says of them."""
        from pellucid.data.dicom.file import DicomPixels, read_dicom

        writer, how = self._writers[subject.name], subject.reading or DicomPixels()
        pixels = read_dicom(writer.path, window=how.window, frame=how.frame)  # as the network saw it
        return writer.write(maps, pixels, self._out, subject.name)


def dicom_output(
    name: str, subjects: Sequence[InputImage], heat: Sequence[str], model: Path, out: Path
) -> DicomOutput | None:
    """What --format asks for beside pictures; all that cannot be is refused here, before any work.

    Raises:
        InputError: an unknown format; images that are no DICOM files; no heat map to write; a missing extra.
    """
    if name not in FORMATS:
        raise InputError(f"--format must be png or dicom; found {name!r}.")
    if name == "png":
        return None
    from pellucid.models.weights import read_model_card
    from pellucid.report.dicom.export import DicomWriter

    if not heat:
        raise InputError("--format dicom writes heat maps: name one with --method, as cam.")
    fingerprint = str(read_model_card(model).get("weights_sha256", "unknown"))[:12]
    writers = {}
    for subject in subjects:
        if subject.dicom is None:
            raise InputError(
                f"{subject.source} is no DICOM file: --format dicom writes objects of the study and patient that the "
                "image is of, which other files do not say. Leave --format out."
            )
        writers[subject.name] = DicomWriter.of(subject.dicom.path, fingerprint)
    return DicomOutput(writers, out)


def found_boxes(subject: InputImage, maps: Maps) -> list[dict[str, Any]]:
    """The rows of boxes.csv of an image."""
    spacing = None if subject.dicom is None else subject.dicom.spacing
    between = None if spacing is None else (spacing.row, spacing.column)
    return box_rows(boxes_of(maps, subject.shape), subject.source, between, "" if spacing is None else spacing.source)
