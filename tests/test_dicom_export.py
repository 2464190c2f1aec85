"""`pellucid explain --format dicom`: what is written beside a radiograph, read back by pydicom and highdicom."""

from __future__ import annotations

import csv
import json

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from helpers.dicom import SECRETS, radiograph
from helpers.models import draw_convolutions, small
from pellucid.data.dicom.file import read_dicom
from pellucid.data.dicom.header import read_header
from pellucid.explainers.explanation import upsample
from pellucid.models.weights import read_model_card, save_model
from pellucid.report.dicom.export import DicomWriter
from pellucid.types import InputError

CLASSES = ["Mass", "Nodule", "Effusion"]
ROWS, COLUMNS = 96, 64
DATES = [v for k, v in SECRETS.items() if k.endswith("Date")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    network = draw_convolutions(small(classes=CLASSES))
    return save_model(network, tmp_path_factory.mktemp("models") / "run", extra={"thresholds": [0.5] * 3})


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    path = tmp_path_factory.mktemp("hospital") / "Quixotte_Dulcinea.dcm"
    y, x = np.mgrid[:ROWS, :COLUMNS]
    values = (2000 + 1500 * np.sin(y / 9) * np.cos(x / 7)).astype(np.uint16)
    radiograph(path, values, WindowCenter=2000, WindowWidth=2500)
    return path


@pytest.fixture(scope="module")
def written(model, chest, tmp_path_factory):
    """One call of the command: its output, its folder, and what explain.json says of the image."""
    from typer.testing import CliRunner

    from pellucid.cli.app import app

    out = tmp_path_factory.mktemp("out")
    how = ["--method", "cam,saliency,adversarial", "--classes", "Mass,Nodule", "--device", "cpu", "--slider", "1"]
    ran = CliRunner().invoke(app, ["explain", str(model), str(chest), *how, "--format", "dicom", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    (row,) = json.loads((out / "explain.json").read_text())["images"]
    return ran.output, out, row


def objects(written, kind):
    _, out, row = written
    return [(item, pydicom.dcmread(out / item["file"])) for item in row["dicom"] if item["kind"] == kind]


@pytest.mark.slow
def test_what_there_is(written):
    _, out, row = written
    wanted = {(k, m, c) for k in ("map", "picture") for m in ("cam", "saliency") for c in ("Mass", "Nodule")}
    assert {(i["kind"], i["method"], i.get("class")) for i in row["dicom"]} == wanted | {("boxes", "cam", None)}
    assert len(row["dicom"]) == 9
    assert {p.name for p in out.glob("*.dcm")} == {i["file"] for i in row["dicom"]}


@pytest.mark.slow
def test_all_belong_to_the_study_and_say_what_they_are(written, model, chest):
    source = pydicom.dcmread(chest)
    fingerprint = read_model_card(model)["weights_sha256"][:12]
    everything = [o for kind in ("map", "boxes", "picture") for o in objects(written, kind)]
    for item, made in everything:
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
            assert made[keyword].value == source[keyword].value
        for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
            assert made[keyword].value == source[keyword].value
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert made.ImageType[0] == "DERIVED"
        assert made.ContentQualification == "RESEARCH" if "ContentQualification" in made else item["kind"] == "boxes"
        assert made.Manufacturer == "Pellucid"
        assert "not for diagnosis" in made.SeriesDescription
        assert fingerprint in made.DerivationDescription
        assert item["method"] in made.DerivationDescription
        assert item.get("class", "") in made.DerivationDescription
        assert made.SoftwareVersions
        assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert (made.Rows, made.Columns) == (ROWS, COLUMNS)
        if item["kind"] != "picture":
            assert made.ContentDescription.startswith(f"not for diagnosis; model {fingerprint}; {item['method']}")
            frame = made.PerFrameFunctionalGroupsSequence[0]
            reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
            assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert len({m.SOPInstanceUID for _, m in everything} | {source.SOPInstanceUID}) == len(everything) + 1
    by_kind = {i["kind"]: {m.SeriesInstanceUID for j, m in everything if j["kind"] == i["kind"]} for i, _ in everything}
    assert [len(series) for series in by_kind.values()] == [1, 1, 1]
    assert len(set.union(*by_kind.values())) == 3


@pytest.mark.slow
def test_parametric_maps_hold_the_heat_maps(written):
    _, out, row = written
    maps = np.load(out / row["maps"])
    for item, made in objects(written, "map"):
        expected = upsample(torch.from_numpy(maps[f"{item['class']}|{item['method']}"])[None], (ROWS, COLUMNS))[0]
        assert made.SOPClassUID == pydicom.uid.ParametricMapStorage
        np.testing.assert_allclose(made.pixel_array, expected.numpy(), rtol=1e-4, atol=1e-6)
        again = hd.imread(out / item["file"])
        np.testing.assert_allclose(again.get_frames()[0], expected.numpy(), rtol=1e-4, atol=1e-6)
        shared = made.SharedFunctionalGroupsSequence[0]
        assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.2, 0.1]
        assert list(shared.PlaneOrientationSequence[0].ImageOrientationPatient) == [1, 0, 0, 0, 0, -1]  # L\F
        assert made.FrameOfReferenceUID  # its own: the projection has none


def test_segments_are_the_hot_regions_and_their_boxes(written):
    _, out, row = written
    maps = np.load(out / row["maps"])
    ((item, _),) = objects(written, "boxes")
    segmentation = hd.seg.segread(out / item["file"])
    assert "FrameOfReferenceUID" not in segmentation  # as in the radiograph: the same pixels, no claim beyond
    assert list(segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing) == [0.2, 0.1]
    labels = {n: segmentation.get_segment_description(n).segment_label for n in segmentation.segment_numbers}
    source = segmentation.get_source_image_uids()[0][2]
    pixels = segmentation.get_pixels_by_source_instance([source])[0]
    for name in ("Mass", "Nodule"):
        heat = maps[f"{name}|cam"].astype(float)
        hot = (heat - heat.min()) / (heat.max() - heat.min()) * 255 >= 180
        region = np.repeat(np.repeat(hot, ROWS // 32, axis=0), COLUMNS // 32, axis=1)
        (number,) = [n for n, label in labels.items() if label == f"{name}: region"]
        np.testing.assert_array_equal(pixels[..., number - 1].astype(bool), region)
        union = np.any([pixels[..., n - 1] for n, label in labels.items() if label.startswith(f"{name}: box")], axis=0)
        assert (union[region]).all()
        with (out / "boxes.csv").open() as file:
            told = [
                r for r in csv.DictReader(file) if (r["class"], r["method"], r["threshold"]) == (name, "cam", "180.0")
            ]
        drawn = np.zeros((ROWS, COLUMNS), bool)
        for box in told:
            x, y, width, height = (round(float(box[k])) for k in ("x", "y", "width", "height"))
            drawn[y : y + height, x : x + width] = True
        np.testing.assert_array_equal(union, drawn)


def test_boxes_in_millimetres(written, chest):
    _, out, _ = written
    with (out / "boxes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {r["method"] for r in rows} == {"cam"}  # saliency is too fine to have regions
    assert {r["image"] for r in rows} == {read_header(chest).name}
    for r in rows:
        assert r["spacing"] == "ImagerPixelSpacing"
        for pixels, millimetres, size in (("x", "x_mm", 0.1), ("y", "y_mm", 0.2), ("width", "width_mm", 0.1)):
            assert float(r[millimetres]) == pytest.approx(float(r[pixels]) * size)
        assert float(r["x"]) + float(r["width"]) <= COLUMNS
        assert float(r["y"]) + float(r["height"]) <= ROWS


def test_pictures_show_the_radiograph_and_say_what_they_are(written, chest):
    gray = read_dicom(chest) / 257
    for item, made in objects(written, "picture"):
        assert made.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
        assert list(made.ImageType) == ["DERIVED", "SECONDARY"]
        assert list(made.PixelSpacing) == list(made.ImagerPixelSpacing) == [0.2, 0.1]
        picture = made.pixel_array
        assert picture.shape == (ROWS, COLUMNS, 3)
        assert (picture[:3, :3] == 0).all()  # the words stand on black
        assert (picture[:20] > 120).all(axis=2).sum() > 20
        if item["method"] == "cam":
            below = picture[30:].astype(float).mean(axis=2)
            assert np.corrcoef(below.ravel(), gray[30:].ravel())[0, 1] > 0.5


def test_no_name_id_or_date_is_told(written, chest):
    output, out, _ = written
    for path in out.rglob("*"):
        assert not any(s in str(path.relative_to(out)) for s in ("Quixotte", "Dulcinea", "HOSP", *DATES))
        if path.suffix in {".json", ".csv", ".html"}:
            text = path.read_text()
            assert not any(s in text for s in (*SECRETS.values(), "Quixotte", "Dulcinea", "7731942")), path
        if path.suffix in {".png", ".npz"}:
            assert not any(s.encode() in path.read_bytes() for s in SECRETS.values())
    said = output.replace(str(chest), "")
    assert not any(s in said for s in (*SECRETS.values(), "Quixotte", "HOSP"))


def test_the_picture_that_is_explained_is_the_radiograph(written, model, chest, tmp_path, pellucid):
    """The same pixels as a 16-bit PNG get the same probabilities."""
    _, _, row = written
    Image.fromarray(read_dicom(chest)).save(tmp_path / "same.png")
    how = ["--method", "cam", "--classes", "Mass", "--device", "cpu", "--out", tmp_path / "out"]
    assert pellucid("explain", model, tmp_path / "same.png", *how)[0] == 0
    (other,) = json.loads((tmp_path / "out" / "explain.json").read_text())["images"]
    assert other["image"] == str(tmp_path / "same.png")
    for name, chance in row["probabilities"].items():
        assert other["probabilities"][name] == pytest.approx(chance, abs=2e-3)  # a PNG is read as 8 bits
    with (tmp_path / "out" / "boxes.csv").open() as file:
        assert {(r["x_mm"], r["spacing"]) for r in csv.DictReader(file)} == {("", "")}


@pytest.mark.parametrize(
    ("make", "options", "parts"),
    [
        ("png", [], ["is no DICOM file", "Leave --format out"]),
        ("plain", ["--method", "adversarial"], ["--format dicom writes heat maps"]),
        ("plain", ["--format", "pdf"], ["--format must be png or dicom; found 'pdf'"]),
        ("frames", [], ["2 frames, not one image", "frame=1"]),
        ("frames", ["--data-option", "frame=2"], ["2 frames; explanations are written as DICOM for files of one"]),
        ("plain", ["--data-option", "windw=2"], ["unknown key 'windw'", "window"]),
        ("study", [], ["StudyInstanceUID is missing"]),
        ("text", [], ["not an image of a format that is read"]),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(pellucid, model, tmp_path, make, options, parts):
    path = tmp_path / "a.dcm"
    if make == "png":
        Image.new("L", (32, 32)).save(path, "PNG")
    elif make == "text":
        path.write_text("no picture")
    else:
        own = {"study": {"StudyInstanceUID": None}}
        image = radiograph(path, np.zeros((8, 4), np.uint16), **own.get(make, {}))
        if make == "frames":
            image.Rows, image.NumberOfFrames = 4, 2
            image.save_as(path)
    how = ["--method", "cam", "--format", "dicom", *options, "--device", "cpu", "--out", tmp_path / "out"]
    status, output, errors = pellucid("explain", model, path, *how)
    told = f"{status}{output}{errors}"
    assert status != 0
    assert all(part in told for part in parts), told
    assert not any(secret in told for secret in SECRETS.values())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_spacing_that_makes_no_sense_costs_the_millimetres_alone(pellucid, model, tmp_path):
    for name, spacing in (("none", None), ("zero", [0, 0])):
        radiograph(tmp_path / f"{name}.dcm", PixelSpacing=spacing, ImagerPixelSpacing=None, SOPInstanceUID="1.2.3")
        how = ["--method", "cam", "--device", "cpu", "--format", "dicom", "--out", tmp_path / name]
        assert pellucid("explain", model, tmp_path / f"{name}.dcm", *how)[0] == 0
        assert (tmp_path / name / "explain.json").is_file()
        assert not any(
            "PixelSpacing" in pydicom.dcmread(made, stop_before_pixels=True) for made in (tmp_path / name).glob("*.dcm")
        )
    rows = [(tmp_path / name / "boxes.csv").read_text() for name in ("none", "zero")]
    assert rows[0] == rows[1]


def heat(size=8):
    y, x = np.mgrid[:size, :size]
    return np.exp(-((y - 2) ** 2 + (x - 5) ** 2) / 4).astype(np.float32)


def test_a_slice_keeps_its_frame_of_reference(tmp_path):
    """A CT has a position: the map and the segments are in its coordinate system."""
    place = {
        "FrameOfReferenceUID": "2.25.77", "ImagePositionPatient": [10, 20, 30],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.5, 0.5], "SliceThickness": 2,
    }  # fmt: skip
    radiograph(tmp_path / "a.dcm", np.zeros((32, 32), np.uint16), **place)
    writer = DicomWriter.of(tmp_path / "a.dcm", "0123456789ab")
    rows = writer.write({("Mass", "cam"): heat()}, read_dicom(tmp_path / "a.dcm"), tmp_path, "x")
    for row in rows[:1] + rows[2:]:
        made = pydicom.dcmread(tmp_path / row["file"])
        assert made.FrameOfReferenceUID == "2.25.77"
        assert list(made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient) == [
            10,
            20,
            30,
        ]


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImagerPixelSpacing": None},
        {"PatientOrientation": None},
        {"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 100"},
        {"PatientName": "Yamada^Tarou=山田^太郎", "SpecificCharacterSet": "ISO_IR 192"},
        dict.fromkeys(SECRETS) | {"PatientSex": None, "StudyID": None, "StudyTime": None},
        {"PhotometricInterpretation": "MONOCHROME1", "BurnedInAnnotation": "YES"},
        {"LossyImageCompression": "01", "LossyImageCompressionRatio": 12, "LossyImageCompressionMethod": "ISO_10918_1"},
    ],
)
def test_sources_that_say_more_or_less(tmp_path, attributes):
    source = radiograph(tmp_path / "a.dcm", **attributes)
    writer = DicomWriter.of(tmp_path / "a.dcm", "0123456789ab")
    rows = writer.write({("A long name of a class " * 4, "cam"): heat()}, read_dicom(tmp_path / "a.dcm"), tmp_path, "x")
    assert [r["kind"] for r in rows] == ["map", "picture", "boxes"]
    for row in rows:
        made = pydicom.dcmread(tmp_path / row["file"])
        assert str(made.PatientName) == str(source.get("PatientName", ""))
        assert made.get("LossyImageCompression") == source.get("LossyImageCompression", "00")
        assert "0123456789ab" in made.DerivationDescription
    picture = pydicom.dcmread(tmp_path / rows[1]["file"])
    assert picture.get("BurnedInAnnotation") == source.get("BurnedInAnnotation")
    assert ("PixelSpacing" in picture) == ("ImagerPixelSpacing" in source)


def test_a_map_without_regions_has_no_segmentation(tmp_path):
    radiograph(tmp_path / "a.dcm")
    writer = DicomWriter.of(tmp_path / "a.dcm", "0123456789ab")
    flat = {("Mass", "cam"): np.full((8, 8), 0.5, np.float32), ("Mass", "saliency"): heat()}
    rows = writer.write(flat, read_dicom(tmp_path / "a.dcm"), tmp_path, "x")
    assert [r["kind"] for r in rows] == ["map", "picture", "map", "picture"]
    (tmp_path / "nan").mkdir()
    with pytest.raises(InputError, match="heat map cam of Mass is not finite"):
        writer.write({("Mass", "cam"): np.full((8, 8), np.nan)}, read_dicom(tmp_path / "a.dcm"), tmp_path / "nan", "x")


def test_classes_of_like_names_and_maps_of_many_regions(tmp_path):
    radiograph(tmp_path / "a.dcm")
    writer = DicomWriter.of(tmp_path / "a.dcm", "0123456789ab")
    spots = np.zeros((16, 16), np.float32)
    spots[::4, ::4] = 1  # sixteen regions
    maps = {("A/B", "cam"): spots, ("A B", "cam"): spots}
    rows = writer.write(maps, read_dicom(tmp_path / "a.dcm"), tmp_path, "x")
    assert len({r["file"] for r in rows}) == len(rows) == 5
    segmentation = hd.seg.segread(tmp_path / rows[-1]["file"])
    labels = [segmentation.get_segment_description(n).segment_label for n in segmentation.segment_numbers]
    assert [label for label in labels if label.startswith("A/B")] == ["A/B: region"] + [
        f"A/B: box {n}" for n in range(1, 11)
    ]
