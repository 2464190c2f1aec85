"""A folder of DICOM files and a table of their labels as a dataset, and all that can be wrong with it."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import generate_uid

from helpers.dicom import SECRETS, radiograph
from pellucid.data import check_dataset, open_dataset
from pellucid.data.dicom.file import read_dicom
from pellucid.data.issues import FaultyDataError
from pellucid.data.readers.dicom.images import find_dicom
from pellucid.data.readers.dicom.reader import boxes_in_mm
from pellucid.types import InputError


@pytest.fixture
def folder(tmp_path):
    """Twelve images of six patients, named and not, in folders and not, with a table by UID."""
    lines = ["SOPInstanceUID,Mass,Nodule"]
    for i in range(12):
        place = tmp_path / "deep" / f"{i % 3}"
        place.mkdir(parents=True, exist_ok=True)
        name = f"IM{i:04d}" + (".dcm" if i % 2 else "")
        own = {"PatientID": f"HOSP-77319{i // 2}", "AccessionNumber": f"ACC-{i // 2}"}
        own |= {"PatientSex": "FM"[i % 2], "PatientAge": f"0{10 + i}Y", "ViewPosition": "PA"}
        image = radiograph(place / name, index=i, size=40 + i, **own)
        lines.append(f"{image.SOPInstanceUID},{i % 2},{'' if i == 5 else (i + 1) % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return tmp_path


def test_by_uid(folder):
    with pytest.warns(
        UserWarning, match="images by uid from 'SOPInstanceUID'; labels of 0 and 1 from 'Mass', 'Nodule'"
    ):
        splits = open_dataset("dicom", folder)
    assert {name: len(part) for name, part in splits.items()}.keys() == {"train", "validation", "test"}
    assert sum(map(len, splits.values())) == 12
    for part in splits.values():
        for i, file in enumerate(part.files):
            number = int(file.path.stem[2:])
            np.testing.assert_array_equal(part.read(i), read_dicom(file.path))
            assert part.read(i).dtype == np.uint16
            assert part.read(i).shape == (40 + number,) * 2
            assert part.targets[i][0] == number % 2
            assert np.isnan(part.targets[i][1]) == (number == 5)
            said = [part.metadata[name][i] for name in ("age", "sex", "view")]
            assert said == [str(10 + number), "FM"[number % 2], "PA"]
    assert len({p for part in splits.values() for p in part.patients}) == 6
    again = open_dataset("dicom", folder)
    assert {n: p.fingerprint for n, p in again.items()} == {n: p.fingerprint for n, p in splits.items()}


def test_nothing_tells_the_patient_unless_asked(folder):
    def said(options):
        splits = open_dataset("dicom", folder, options=options)
        return " ".join(t for part in splits.values() for t in (*part.ids, *part.patients, repr(part.card)))

    assert "HOSP" not in said({})
    assert "IM0" not in said({})
    shown = said({"show_patients": True})
    assert "HOSP-773190" in shown
    assert "deep/0/IM0000" in shown


def test_by_accession_a_row_is_an_examination(folder):
    rows = [f"ACC-{i},{'Mass' if i % 2 else 'No Finding'},{'test' if i > 3 else 'train'}" for i in range(6)]
    (folder / "labels.csv").write_text("AccessionNumber,findings,split\n" + "\n".join(rows))
    radiograph(folder / "heat.dcm", AccessionNumber="ACC-5", Manufacturer="Pellucid")  # one of ours is no radiograph
    splits = open_dataset("dicom", folder, options={"validation_fraction": 0})
    assert {name: len(part) for name, part in splits.items()} == {"train": 8, "test": 4}
    assert sorted(splits["test"].targets[:, 0]) == [0, 0, 1, 1]


def test_by_path(folder):
    rows = [f"deep/{i % 3}/IM{i:04d}{'.dcm' if i % 2 else ''},{'ab'[i % 2]}" for i in range(12)]
    (folder / "labels.csv").write_text("path,class\n" + "\n".join(rows))
    splits = open_dataset("dicom", folder, options={"test_fraction": 1})
    assert splits["test"].task == "multiclass"
    assert splits["test"].targets.tolist() == [int(f.path.stem[2:]) % 2 for f in splits["test"].files]


@pytest.mark.parametrize("missing", [{}, {"StudyInstanceUID": ""}])
def test_without_patient_ids_a_study_stays_together(tmp_path, missing):
    uid = [generate_uid(prefix=None) for _ in range(15)]
    lines = ["path,Mass"]
    for i in range(30):
        own = {"PatientID": "", "StudyInstanceUID": uid[i // 2], "AccessionNumber": f"ACC-{i // 2}", **missing}
        radiograph(tmp_path / f"{i:02d}.dcm", np.full((8, 8), i, np.uint16), **own)
        lines.append(f"{i:02d}.dcm,{i % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"30 images without PatientID; those of one study"):
        splits = open_dataset("dicom", tmp_path)
    at = {int(f.path.stem): part for part, dataset in splits.items() for f in dataset.files}
    assert all(at[i] == at[i + 1] for i in range(0, 30, 2))
    assert sum(len(set(part.patients)) for part in splits.values()) == 15
    assert any("30 images without PatientID" in note.reason for note in check_dataset("dicom", tmp_path).notes)
    shown = open_dataset("dicom", tmp_path, options={"show_patients": True})
    assert sum(len(set(part.patients)) for part in shown.values()) == 15


def test_boxes_in_pixels_and_millimetres(folder):
    first = (folder / "labels.csv").read_text().splitlines()[4].split(",")[0]  # of 43 × 43 pixels, 0.2 × 0.1 mm
    (folder / "boxes.csv").write_text(f"SOPInstanceUID,label,x,y,width,height\n{first},Mass,10,20,5,8\n")
    test = open_dataset("dicom", folder, options={"test_fraction": 1})["test"]
    (i,) = [k for k, file in enumerate(test.files) if file.path.stem == "IM0003"]
    assert test.regions.pairs() == [(i, "Mass")]
    np.testing.assert_allclose(test.regions.boxes(i, "Mass", 43)[0], (10, 20, 5, 8))
    np.testing.assert_allclose(boxes_in_mm(test, i, "Mass")[0], (1.0, 4.0, 0.5, 1.6))
    radiograph(test.files[i].path, index=3, size=43, ImagerPixelSpacing=None)
    with pytest.raises(InputError, match="no PixelSpacing and no ImagerPixelSpacing"):
        boxes_in_mm(test, i, "Mass")


@pytest.mark.parametrize(
    ("table", "options", "parts"),
    [
        ("SOPInstanceUID,Mass\n1.2.3,1\n", {}, ["line 2: no DICOM image in", "has this SOPInstanceUID"]),
        ("SOPInstanceUID,Mass\n{0},1\n{0},0\n", {}, ["line 3: SOPInstanceUID is that of line 2"]),
        ("SOPInstanceUID,Mass\n{0},1\n,0\n", {}, ["line 3: SOPInstanceUID is empty"]),
        ("SOPInstanceUID,Mass\n{0},2\n", {"labels": ["Mass"]}, ["line 2: Mass is '2'; expected 0, 1"]),
        ("SOPInstanceUID,Mass,split\n{0},1,exam\n", {}, ["split is 'exam'"]),
        ("number,Mass\n1,1\n", {}, ["no column SOPInstanceUID, AccessionNumber or path"]),
        ("SOPInstanceUID,Mass\n{0},1\n{1},0\n", {"uid": "uid"}, ["no column 'uid'"]),
        ("SOPInstanceUID,Mass\n{0},1\n", {"frame": 2}, ["has 1 frame; frame 2 is asked for"]),
        ("SOPInstanceUID,Mass\n{0},1\n", {"window": -1}, ["window", "greater than or equal to 0"]),
        ("path,Mass\n../x.dcm,1\n", {}, ["../x.dcm leads out of"]),
        ("path,Mass\nlabels.csv,1\n", {}, ["line 2", "labels.csv: not a DICOM file"]),
    ],
)
def test_tables_that_are_wrong(folder, table, options, parts):
    uids = [line.split(",")[0] for line in (folder / "labels.csv").read_text().splitlines()[1:]]
    (folder / "labels.csv").write_text(table.format(*uids))
    with pytest.raises(InputError) as refused:
        open_dataset("dicom", folder, options=options)
    assert all(part in str(refused.value) for part in parts), refused.value


def test_files_that_cannot_be_meant(folder):
    rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "copy.dcm").write_bytes((folder / "deep/0/IM0000").read_bytes())
    image = radiograph(folder / "two.dcm", np.zeros((8, 4), np.uint16))
    image.Rows, image.NumberOfFrames = 4, 2
    image.save_as(folder / "two.dcm")
    report = radiograph(folder / "report.dcm")
    for keyword in ("PixelData", "Rows", "Columns"):
        del report[keyword]
    report.save_as(folder / "report.dcm")
    (folder / "labels.csv").write_text(
        "\n".join([*rows, f"{image.SOPInstanceUID},0,0", f"{report.SOPInstanceUID},0,0"])
    )
    with pytest.raises(FaultyDataError) as refused:
        open_dataset("dicom", folder)
    told = str(refused.value)
    assert "line 2" in told
    assert "have the same SOP Instance UID" in told
    assert "two.dcm has 2 frames; choose one with the option frame" in told
    assert "report.dcm is no image" in told
    assert sum(map(len, refused.value.usable.values())) == 11
    (folder / "labels.csv").write_text("path,Mass\ndeep/0/IM0000,0\ncopy.dcm,1\ndeep/1/IM0001.dcm,1\n")
    with pytest.raises(FaultyDataError, match=r"line 3: .*IM0000 and .*copy\.dcm have the same SOP Instance UID"):
        open_dataset("dicom", folder, options={"test_fraction": 1})


def test_the_check_names_every_file_and_no_patient(folder):
    damaged = folder / "deep" / "2" / "IM0002"
    damaged.write_bytes(damaged.read_bytes()[:-900])
    (folder / "half.dcm").write_bytes((folder / "deep/0/IM0000").read_bytes()[:140])
    radiograph(folder / "raw.dcm", PresentationIntentType="FOR PROCESSING")
    radiograph(folder / "odd.dcm", PixelSpacing=[0.0, 0.1])
    report = check_dataset("dicom", folder)
    told = report.to_json()
    assert sum(part.images for part in report.parts.values()) == 12
    problems = {f.file.rpartition("/")[2]: f.reason for f in report.problems}
    assert "truncated or damaged" in problems["IM0002"]
    assert "half.dcm" in problems
    assert "odd.dcm" not in problems
    assert any("PixelSpacing is 0, 0.1" in note.reason for note in report.notes)
    assert any("FOR PROCESSING" in note.reason for note in report.notes)
    assert not any(secret in told for secret in SECRETS.values())


def test_links_round_in_a_circle_end(folder):
    (folder / "deep" / "again").symlink_to(folder, target_is_directory=True)
    (folder / "broken.dcm").symlink_to(folder / "nowhere")
    (folder / "._IM0000").write_bytes((folder / "deep/0/IM0000").read_bytes())
    assert len(find_dicom(folder)) == 12


def test_windows_give_images_of_other_names(folder):
    for number in range(12):
        place = folder / "deep" / f"{number % 3}" / (f"IM{number:04d}" + (".dcm" if number % 2 else ""))
        import pydicom

        image = pydicom.dcmread(place)
        image.WindowCenter, image.WindowWidth = [2000, 900], [1000, 300]
        image.save_as(place)
    first, second = (open_dataset("dicom", folder, options={"window": w})["train"] for w in (1, 2))
    assert set(first.ids).isdisjoint(second.ids)  # a cache is found by the names
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(first.read(0), second.read(0))


def test_a_network_learns_from_them(folder, pellucid, tmp_path):
    how = ["--data", "dicom", "--root", folder, "--set", "training.epochs=1", "--device", "cpu"]
    tiny = ["model.name=small", "model.size=32", "training.batch_size=4"]
    status, output, errors = pellucid(
        "train", "standard", *how, *(x for s in tiny for x in ("--set", s)), "--out", tmp_path / "run"
    )
    assert status == 0, errors + output
    written = "".join(p.read_text() for p in (tmp_path / "run").rglob("*") if p.suffix in {".toml", ".jsonl", ".json"})
    assert "dicom" in written
    assert not any(secret in written + output + errors for secret in (*SECRETS.values(), "HOSP-", "IM00"))
