"""What may be chosen when a table of one's own is opened, and how columns are usually called."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.utils.settings import Names, Section

USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "image_index"),
    "category": ("class", "label", "category"),
    "findings": ("labels", "findings", "finding_labels"),
    "split": ("split", "part"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id"),
    "id": ("id", "image_id"),
}
"""What a column may be called so that its option need not be given, in small letters."""


class ColumnOptions(Section):
    """What may be chosen of a table that says what is on images, whatever kind they are of.

    Attributes:
        split: the column of the parts.
        category: the column of each image's one class, for a multiclass task.
        findings: the column of lists of labels, for a multi-label task.
        labels: the columns of 0 and 1 that are the labels of a multi-label task, in this order.
        classes: the classes in `category` or `findings`, in the order of the network's outputs; None for all that
            occur, sorted. Findings that are not among them are left out.
        negative: the word in a list of findings that says there is none, in any capitals; `""` where an empty cell says
            so, which otherwise means unknown.
        separator: what stands between two findings of a list in a CSV file; None for `|` or `;`.
        unknown: what else in a column of 0 and 1 means unknown, as `["9"]`.
        boxes: the table of boxes, in pixels of the upright image; its path, from the table's folder unless it is
            absolute; None for boxes.csv, if it is there.
        validation_fraction: the share of training patients to cut off where the table has no validation part; 0 for
            none.
        test_fraction: the share of patients to cut off for testing where the table has no parts; 0 for none, 1 for
            nothing but a test part.
        encoding: of the text of a CSV file; None for UTF-8, or UTF-16 with a byte-order mark.
        delimiter: between the cells of a CSV file; None for a comma, and a tab in a file called .tsv.
    """

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
    encoding: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)


class TableOptions(ColumnOptions):
    """What may be chosen when a table is opened; columns that are not named are found by their usual names.

    Attributes:
        path: the column of the image files.
        patient: the column of the patients; without one, each image counts as a patient of its own.
        id: the column of the images' names; None for their paths.
        images: the folder that paths start from; its own path, from the table's folder unless it is absolute.
        outside: allow paths that are absolute or leave the folder by `..`.
        bits: 16 keeps the depth of 16-bit grey images.
    """

    path: str | None = None
    patient: str | None = None
    id: str | None = None
    images: str = "."
    outside: bool = False
    bits: Literal[8, 16] = 8
