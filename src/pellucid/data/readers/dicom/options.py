"""What may be chosen when a folder of DICOM files is opened, and what the columns of its table may be called."""

from __future__ import annotations

from pydantic import Field

from pellucid.data.dicom.file import DicomPixels
from pellucid.data.readers.table.options import USUAL
from pellucid.utils.settings import Names  # noqa: TC001 (pydantic reads it)

KEYS = {
    "uid": ("sopinstanceuid", "sop_instance_uid", "uid"),
    "path": USUAL["path"],
    "accession": ("accessionnumber", "accession_number", "accession"),
}
"""The columns that say which image a row is of, in the order they are looked for, and how they may be called."""


class DicomOptions(DicomPixels):
    """What may be chosen when a folder of DICOM files is opened; columns are found by their usual names.

    Attributes:
        table: the table; its path, from the folder of the DICOM files unless it is absolute. None for the one that is
            directly in it.
        uid: the column of SOP Instance UIDs.
        path: the column of the files' paths, from the table's folder.
        accession: the column of accession numbers; a row is of all images of its examination.
        split: the column of the parts.
        category: the column of each image's one class, for a multiclass task.
        findings: the column of lists of labels, for a multi-label task.
        labels: the columns of 0 and 1 that are the labels of a multi-label task, in this order.
        classes: the classes in `category` or `findings`, in the order of the network's outputs; None for all that
            occur, sorted.
        negative: the word in a list of findings that says there is none, in any capitals.
        separator: what stands between two findings of a list in a CSV file; None for `|` or `;`.
        unknown: what else in a column of 0 and 1 means unknown, as `["9"]`.
        boxes: the table of boxes, in pixels of the image; its path, from the table's folder. None for boxes.csv, if it
            is there.
        validation_fraction: the share of training patients to cut off where the table has no validation part; 0 for
            none.
        test_fraction: the share of patients to cut off for testing where the table has no parts; 0 for none, 1 for
            nothing but a test part.
        show_patients: call patients by their PatientID and images by their path instead of by hashes. Both then stand
            in results.
        window: which of the file's windows to show grey values through, from 1; 0 for the full range of what can be
            stored. None for the file's VOI look-up table, or the first window where it has none.
        frame: which frame, from 1, of files that have several; those are refused without it.
        encoding: of the text of a CSV file; None for UTF-8, or UTF-16 with a byte-order mark.
        delimiter: between the cells of a CSV file; None for a comma, and a tab in a file called .tsv.
    """

    table: str | None = None
    uid: str | None = None
    path: str | None = None
    accession: str | None = None
    split: str | None = None
    category: str | None = None
    findings: str | None = None
    labels: Names | None = None
    classes: Names | None = None
    negative: str = "No Finding"
    separator: str | None = Field(default=None, min_length=1)
    unknown: Names = ()
    boxes: str | None = None
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    test_fraction: float = Field(default=0.2, ge=0, le=1)
    show_patients: bool = False
    encoding: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
