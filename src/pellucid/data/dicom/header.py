"""What a DICOM file says without its pixels: size, spacing, and whose it is, by names that tell nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.data.dicom.file import WHAT_TO_DO, lift_functional_groups, open_dicom
from pellucid.data.dicom.quiet import quiet
from pellucid.data.dicom.values import numbers, whole
from pellucid.types import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset as DicomObject

_HEADER = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "IssuerOfPatientID",
    "Manufacturer", "Rows", "Columns", "NumberOfFrames", "PixelSpacing", "ImagerPixelSpacing",
    "NominalScannedPixelSpacing", "PresentationIntentType", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "PatientSex", "PatientAge", "ViewPosition",
)  # fmt: skip
_NAMES = ("SOPInstanceUID", "StudyInstanceUID", "AccessionNumber", "PatientID", "IssuerOfPatientID")  # as in `Header`


class Spacing(NamedTuple):
    """How far apart the pixels of an image are, in millimetres.

    Attributes:
        row: between rows, downwards.
        column: between columns, to the right.
        source: the attribute it is from. `PixelSpacing` may be calibrated to the patient; `ImagerPixelSpacing` is at
            the detector, where a projection is magnified; `NominalScannedPixelSpacing` is of a digitised film.
    """

    row: float
    column: float
    source: str


@dataclass(frozen=True)
class Header:
    """What is known of a DICOM file without its pixels.

    Attributes:
        path: the file.
        uid: its SOP Instance UID.
        study: its Study Instance UID; empty where it has none.
        accession: its accession number; empty where it has none.
        patient_id: as in the file; empty where it has none. Show `patient` instead.
        issuer: of the patient's id, as in the file.
        rows: height in pixels; 0 for an object that is no image.
        columns: width in pixels.
        frames: how many images are in it.
        manufacturer: of what made the image.
        raw: whether it is marked as for processing, not for presentation.
        spacing: between pixels; None where it is not known, or frames differ in it and none was chosen. What is not
            two numbers above 0, as the two zeros of some films, counts as not known.
        spacing_note: what stands there instead; empty where there is none or it makes sense.
        sex: of the patient, as in the file.
        age: of the patient at the time, as in the file: 058Y, 006M.
        view: of a projection, as PA; as in the file.
    """

    path: Path
    uid: str
    study: str
    accession: str
    patient_id: str
    issuer: str
    rows: int
    columns: int
    frames: int
    manufacturer: str
    raw: bool
    spacing: Spacing | None
    spacing_note: str = ""
    sex: str = ""
    age: str = ""
    view: str = ""

    @property
    def name(self) -> str:
        """What the image is called in results: by a hash, since UIDs and paths may hold dates and names."""
        return f"dicom-{_hash('image', self.uid or self.path.name)}"

    @property
    def patient(self) -> str:
        """A name for the patient that tells nothing: a hash of the id.

        Without an id it is one of the study, else of the accession number, so that the images of an examination stay
        together; without these the image's own name.
        """
        if self.patient_id:
            return f"patient-{_hash('patient', self.issuer, self.patient_id)}"
        if self.study:
            return f"study-{_hash('study', self.study)}"
        return f"study-{_hash('accession', self.accession)}" if self.accession else self.name


@quiet()
def read_header(path: str | Path, *, frame: int | None = None) -> Header:
    """What a DICOM file says without its pixels.

    Args:
        path: the file.
        frame: which frame's spacing, from 1; where None, that which all frames have.

    Raises:
        InputError: with the file's name, for a file that is not DICOM or is damaged.
    """
    path = Path(path)
    image = open_dicom(path, pixels=False, tags=_HEADER)
    try:
        shape = [whole(image, k, default) for k, default in (("Rows", 0), ("Columns", 0), ("NumberOfFrames", 1))]
        intent = _text(image, "PresentationIntentType")
        named = [_text(image, k) for k in _NAMES]
    except Exception as error:
        raise InputError(f"{path}: the header is damaged ({error}). {WHAT_TO_DO}") from error
    notes: list[str] = []
    try:
        spacing = _spacing_of_frame(image, frame, notes)
    except Exception as error:
        raise InputError(f"{path}: the header is damaged ({error}). {WHAT_TO_DO}") from error
    uid, study, accession, patient, issuer = named
    return Header(
        path, uid, study, accession, patient, issuer, shape[0], shape[1], max(shape[2], 1),
        _text(image, "Manufacturer"), intent == "FOR PROCESSING", spacing, notes[0] if notes else "",
        _text(image, "PatientSex"), _text(image, "PatientAge"), _text(image, "ViewPosition"),
    )  # fmt: skip


def _spacing_of_frame(image: DicomObject, frame: int | None, notes: list[str]) -> Spacing | None:
    """The spacing of a frame, from 1; of all frames, where they agree, for None."""
    count = max(len(image.get("PerFrameFunctionalGroupsSequence") or ()), 1)
    spacings = set()
    for index in range(count) if frame is None else (frame - 1,):
        lift_functional_groups(image, index)
        spacings.add(_spacing(image, notes))
    return spacings.pop() if len(spacings) == 1 else None


def _spacing(image: DicomObject, notes: list[str]) -> Spacing | None:
    """The first spacing that makes sense; of one that does not, a note is taken."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        try:
            spacing = numbers(image, keyword)
        except ValueError as error:
            notes.append(f"{error}; counts as not known")
            continue
        if spacing and (len(spacing) != 2 or min(spacing) <= 0):
            text = ", ".join(f"{v:g}" for v in spacing)
            notes.append(f"{keyword} is {text}, not two numbers above 0; counts as not known")
        elif spacing:
            return Spacing(spacing[0], spacing[1], keyword)
    return None


def _text(image: DicomObject, keyword: str) -> str:
    """An attribute's text from its bytes: pydicom would warn of what it finds odd, and quote it."""
    item: Any = image.get_item(keyword) if keyword in image else None
    value = getattr(item, "value", None)
    if value is None:
        return ""
    return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(("pellucid", *parts)).encode()).hexdigest()[:16]
