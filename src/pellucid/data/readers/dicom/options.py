"""What may be chosen when a folder of DICOM files is opened, and what the columns of its table may be called."""

from __future__ import annotations

from pellucid.data.dicom.file import DicomPixels
from pellucid.data.readers.table.options import USUAL, ColumnOptions

KEYS = {
    "uid": ("sopinstanceuid", "sop_instance_uid", "uid"),
    "path": USUAL["path"],
    "accession": ("accessionnumber", "accession_number", "accession"),
}
"""The columns that say which image a row is of, in the order they are looked for, and how they may be called."""


class DicomOptions(ColumnOptions, DicomPixels):
    """What may be chosen when a folder of DICOM files is opened; columns are found by their usual names.

    Attributes:
        table: the table; its path, from the folder of the DICOM files unless it is absolute. None for the one that is
            directly in it.
        uid: the column of SOP Instance UIDs.
        path: the column of the files' paths, from the table's folder.
        accession: the column of accession numbers; a row is of all images of its examination.
        show_patients: call patients by their PatientID and images by their path instead of by hashes. Both then stand
            in results.
    """

    table: str | None = None
    uid: str | None = None
    path: str | None = None
    accession: str | None = None
    show_patients: bool = False
