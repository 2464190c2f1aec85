"""Heat maps as DICOM objects beside the radiograph they explain: parametric maps and segmentations."""

from __future__ import annotations

import logging
import re
import warnings
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.dicom.file import open_dicom
from pellucid.data.dicom.header import Spacing, read_header
from pellucid.data.placement import Placement
from pellucid.explainers.registry import is_fine
from pellucid.report.dicom.picture import picture_of
from pellucid.report.pictures.heat_boxes import HOT, boxes_of, hot_region
from pellucid.types import InputError
from pellucid.utils.resources import optional, version_of, whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt
    from pydicom.dataset import Dataset as DicomObject

    from pellucid.types import Pixels

    Maps = Mapping[tuple[str, str], npt.NDArray[np.floating]]

MANUFACTURER = "Pellucid"
NOT_FOR_DIAGNOSIS = "derived, not for diagnosis"
SERIES = {"map": ("heat maps", 9001), "boxes": ("regions and boxes", 9002), "picture": ("pictures", 9003)}
MOST_BOXES = 10
"""Boxes of a class in a segmentation, the largest ones; boxes.csv has all."""
_EMPTY_WHERE_MISSING = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_AXES = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows", "Columns")


@dataclass(frozen=True)
class DicomWriter:
    """Writes the explanations of one image as DICOM objects of its study and patient.

    Attributes:
        path: the DICOM file that is explained.
        image: what it says, without its pixels.
        spacing: between its pixels; None where not known.
        model: the network's fingerprint, as `1a2b3c4d5e6f`.
    """

    path: Path
    image: DicomObject
    spacing: Spacing | None
    model: str

    @staticmethod
    def of(path: Path, model: str) -> DicomWriter:
        """A writer for the explanations of a DICOM file.

        Raises:
            InputError: naming the file, where it has several frames or lacks what derived objects need; naming the
                extra, where highdicom is not installed.
        """
        optional("highdicom", "dicom", "--format dicom")
        header = read_header(path)
        if header.frames > 1:
            raise InputError(
                f"{path}: {header.frames} frames; explanations are written as DICOM for files of one image. Split it."
            )
        with _quiet():
            image = open_dicom(path, pixels=False)
            for keyword in _NEEDED:
                if not image.get(keyword):
                    raise InputError(f"{path}: {keyword} is missing; objects derived from it need that.")
            for keyword in _EMPTY_WHERE_MISSING:
                if keyword not in image:
                    setattr(image, keyword, "")
            spacing = header.spacing
            if spacing is not None:  # beside an equal ImagerPixelSpacing it says "at the detector"
                image.PixelSpacing = [spacing.row, spacing.column]
            elif "PixelSpacing" in image:  # what makes no sense is not handed on
                del image.PixelSpacing
            if not image.get("SliceThickness"):
                image.SliceThickness = 1  # a projection has none, but readers such as highdicom want a number
        return DicomWriter(path, image, spacing, model)

    def write(
        self, maps: Maps, pixels: Pixels, folder: Path, name: str, placement: Placement | None = None
    ) -> list[dict[str, Any]]:
        """Write a parametric map and a picture for each heat map, and a segmentation for each method with regions.

        Args:
            maps: heat maps (h, w) by class and method, over what the network takes.
            pixels: the image as `read_dicom` gives it.
            folder: where to.
            name: the files' names begin so. It must tell nothing of the patient.
            placement: where the image lies in what the network takes; None where it is stretched over all of it. What
                the network did not see is padding in the parametric map, and dark in the picture.

        Returns:
            File, kind, class and method of each object.

        Raises:
            InputError: naming the file, for a heat map that is not finite, or where an attribute of the source is
                damaged or not as derived objects need it.
        """
        for (class_name, method), heat in maps.items():
            if not np.isfinite(heat).all():
                raise InputError(
                    f"{self.path}: the heat map {method} of {class_name} is not finite; no DICOM is written."
                )
        rows: list[dict[str, Any]] = []
        try:
            with _quiet():
                objects = self._objects(maps, pixels, placement)
                for number, (kind, class_name, method, dicom_object) in enumerate(objects, start=1):
                    words = [re.sub(r"[^\w.+-]", "_", word) for word in (kind, method, class_name) if word]
                    file = "-".join((name, f"{number:02d}", *words)) + ".dcm"  # no two classes share a number
                    with whole_file(folder / file) as temporary:
                        dicom_object.save_as(temporary, enforce_file_format=True)
                    row = {"file": file, "kind": kind, "method": method}
                    rows.append(row | ({"class": class_name} if class_name else {}))
        except InputError:
            raise
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:  # its text may quote the patient's attributes
            raise InputError(
                f"{self.path}: no DICOM object can be derived from it ({type(error).__name__}: its attributes are not "
                "those of a radiograph, or an attribute is damaged)."
            ) from error
        return rows

    def _objects(
        self, maps: Maps, pixels: Pixels, placement: Placement | None
    ) -> Iterator[tuple[str, str, str, DicomObject]]:
        """Kind, class and method of each object, and the object; one at a time, as they are large."""
        shape = (int(self.image.Rows), int(self.image.Columns))
        frame = next((heat.shape for heat in maps.values()), (1, 1))
        place = placement or Placement.whole(frame[0], frame[1], native=shape)
        series = {kind: _uid() for kind in SERIES}
        for number, ((class_name, method), heat) in enumerate(maps.items(), start=1):
            on_image = place.map_to_native(heat).astype(np.float32)
            about = self._about(method, class_name)
            yield "map", class_name, method, self._map(on_image, about, series["map"], number)
            boxes = [b.box for b in boxes_of({(class_name, method): heat}, place, [HOT])]
            words = [NOT_FOR_DIAGNOSIS, f"{method} of {class_name}"]
            words += [] if place.sees_all else ["dark: not seen by the network"]
            picture = picture_of(pixels, on_image, method, boxes, words)
            yield "picture", class_name, method, self._picture(picture, about, series["picture"], number)
        for number, method in enumerate(dict.fromkeys(m for _, m in maps if not is_fine(m)), start=1):
            of_method = {key: heat for key, heat in maps.items() if key[1] == method}
            segmentation = self._segmentation(of_method, method, place, series["boxes"], number)
            if segmentation is not None:
                yield "boxes", "", method, segmentation

    def _about(self, method: str, class_name: str) -> str:
        return f"not for diagnosis; model {self.model}; {method} of {class_name}"  # a viewer may cut off the end

    def _common(self, kind: str, series: str, number: int) -> dict[str, Any]:
        return {
            "series_instance_uid": series, "series_number": SERIES[kind][1], "sop_instance_uid": _uid(),
            "instance_number": number, "manufacturer": MANUFACTURER,
            "series_description": f"{MANUFACTURER} {SERIES[kind][0]}, {NOT_FOR_DIAGNOSIS}",
        }  # fmt: skip

    def _equipment(self) -> dict[str, Any]:
        return {
            "manufacturer_model_name": "Pellucid",
            "software_versions": version_of(),
            "device_serial_number": self.model,
        }

    def _map(self, heat: npt.NDArray[np.float32], about: str, series: str, number: int) -> DicomObject:
        import highdicom as hd
        from pydicom.sr.codedict import codes

        unseen = np.isnan(heat)
        low, high = float(np.nanmin(heat)), float(np.nanmax(heat))
        padding = np.float32(low - max(high - low, 1))  # a value that the map has not
        heat = np.where(unseen, padding, heat)
        mapping = hd.pm.RealWorldValueMapping(
            lut_label="HEAT", lut_explanation=about[:64], unit=codes.UCUM.NoUnits, value_range=(low, high)
        )
        window = hd.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
        parametric_map = hd.pm.ParametricMap(
            [_placed(self.image)], heat, contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping], voi_lut_transformations=[window],
            content_description=about[:64], content_label="HEAT_MAP", content_qualification="RESEARCH",
            image_flavor="STATIC", **self._common("map", series, number), **self._equipment(),
        )  # fmt: skip
        if unseen.any():
            parametric_map.FloatPixelPaddingValue = float(padding)
            about = f"{about}. {100 * unseen.mean():.0f} % of the image was not seen by the network and is padding"
        return self._marked(parametric_map, about)

    def _segmentation(self, maps: Maps, method: str, place: Placement, series: str, number: int) -> DicomObject | None:
        import highdicom as hd
        from pydicom.sr.codedict import codes

        labels: list[str] = []
        masks: list[npt.NDArray[np.bool_]] = []
        for (class_name, _), heat in maps.items():
            region = hot_region(heat, place)
            if region.any():
                labels.append(f"{class_name}: region")
                masks.append(region)
        for box_of_class in boxes_of(maps, place, [HOT]):
            box, mask = box_of_class.box, np.zeros(place.native or (0, 0), dtype=bool)
            mask[round(box.y) : round(box.y + box.height), round(box.x) : round(box.x + box.width)] = True
            nth = 1 + sum(label.startswith(f"{box_of_class.class_name}: box") for label in labels)
            if mask.any() and nth <= MOST_BOXES:
                labels.append(f"{box_of_class.class_name}: box {nth}")
                masks.append(mask)
        if not masks:
            return None
        algorithm = hd.AlgorithmIdentificationSequence(
            name=f"{MANUFACTURER} {method}", family=codes.cid7162.ArtificialIntelligence,
            version=version_of(), parameters={"model": self.model, "threshold": f"{HOT:g} of 255"},
        )  # fmt: skip
        segments = [
            hd.seg.SegmentDescription(
                i, label[:64], codes.SCT.SpatialAndRelationalConcept, codes.DCM.SelectedRegion, "AUTOMATIC", algorithm
            )
            for i, label in enumerate(labels, start=1)
        ]
        about = f"not for diagnosis; model {self.model}; {method}"
        segmentation = hd.seg.Segmentation(
            [self.image], np.stack(masks, axis=-1)[None].astype(np.uint8), "BINARY", segments,
            content_description=about[:64], content_label="HOT_REGIONS", **self._common("boxes", series, number),
            **self._equipment(),
        )  # fmt: skip
        return self._marked(segmentation, about)

    def _picture(self, picture: npt.NDArray[np.uint8], about: str, series: str, number: int) -> DicomObject:
        import highdicom as hd
        from pydicom.sr.codedict import codes

        capture = hd.sc.SCImage.from_ref_dataset(
            self.image, picture, "RGB", 8, "PATIENT", transfer_syntax_uid="1.2.840.10008.1.2.1",
            patient_orientation=("L", "F"), **self._common("picture", series, number),
        )  # fmt: skip
        capture.PatientOrientation = self.image.get("PatientOrientation") or []  # unknown where the source has none
        capture.ImageType = ["DERIVED", "SECONDARY"]
        capture.ManufacturerModelName, capture.SoftwareVersions = "Pellucid", version_of()
        capture.DeviceSerialNumber = self.model
        capture.ContentQualification = "RESEARCH"
        capture.LossyImageCompression = self.image.get("LossyImageCompression") or "00"
        for keyword in (
            "LossyImageCompressionRatio",
            "LossyImageCompressionMethod",
            "BurnedInAnnotation",
            "Laterality",
        ):
            if keyword in self.image:
                capture[keyword] = self.image[keyword]
        if self.spacing is not None:
            capture.PixelSpacing = self.image.PixelSpacing
        source = hd.sr.CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
        capture.SourceImageSequence = [_reference(self.image, source)]
        return self._marked(capture, about)

    def _marked(self, dicom_object: DicomObject, about: str) -> DicomObject:
        dicom_object.DerivationDescription = (
            f"{about}. Heat map of a neural network by {MANUFACTURER} {version_of()}, resampled to the rows "
            "and columns of the source image."
        )
        if "ImagerPixelSpacing" in self.image:
            dicom_object.ImagerPixelSpacing = self.image.ImagerPixelSpacing
        return dicom_object


def _placed(image: DicomObject) -> DicomObject:
    """The image in a coordinate system, which the standard demands of parametric maps and projections have not.

    Where it has none of its own it gets a new one of the image plane, whose origin is the centre of the first pixel. No
    other object is in that one, so no viewer can take it for the patient's.
    """
    if "ImagePositionPatient" in image and "ImageOrientationPatient" in image and "FrameOfReferenceUID" in image:
        return image
    placed = deepcopy(image)
    letters = [str(v)[:1] for v in np.atleast_1d(image.get("PatientOrientation") or [])]
    across, down = (_AXES.get(v, (0, 0, 0)) for v in letters) if len(letters) == 2 else ((0, 0, 0), (0, 0, 0))
    if not any(across) or not any(down) or np.dot(across, down) != 0:
        across, down = _AXES["L"], _AXES["P"]
    placed.FrameOfReferenceUID, placed.PositionReferenceIndicator = _uid(), ""
    placed.ImagePositionPatient, placed.ImageOrientationPatient = [0, 0, 0], [*across, *down]
    if "PixelSpacing" not in image:
        placed.PixelSpacing = [1, 1]  # the standard wants a number
    return placed


def _reference(image: DicomObject, purpose: DicomObject) -> DicomObject:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _uid() -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of pydicom and highdicom, which quote what they find odd, names of patients too."""
    log = logging.getLogger("pydicom")
    before = log.disabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.disabled = True
        try:
            yield
        finally:
            log.disabled = before
