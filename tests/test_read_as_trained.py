"""Pixels reach a network as it was trained, whatever command brings them; what contradicts is an error with both."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from helpers.dicom import radiograph
from helpers.launch import run_command
from helpers.training_record import CPU, NETWORK, images_of, trained_on
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.data.decoding.file_pixels import FilePixels, fitted, stacked
from pellucid.models.inference import predict, probabilities
from pellucid.models.weights import load_model, read_training_record
from pellucid.types import InputSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

HEATS = ["--method", "saliency", *CPU]


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """12-bit values in 16-bit PNG files."""
    return images_of(tmp_path_factory.mktemp("deep") / "images", 40, deep=True)


@pytest.fixture(scope="module")
def model(deep, tmp_path_factory):
    return trained_on(deep, tmp_path_factory.mktemp("runs") / "first", "--data-option=bits=16")


def explained(folder):
    return {row["image"]: row["probabilities"] for row in json.loads((folder / "explain.json").read_text())["images"]}


def test_a_folder_of_files_gives_what_the_dataset_gives(model, deep, tmp_path, pellucid):
    some = sorted(deep.glob("*/*.png"))[::2]
    code, _, messages = pellucid("explain", model, *some, *HEATS, "--out", tmp_path)
    assert code == 0
    assert "was trained on" in messages  # it is said, not refused
    found = {"/".join(name.split("/")[-2:]): p["bright"] for name, p in explained(tmp_path).items()}
    assert len(found) == 20
    assert len(set(found.values())) > 16  # at 8 bits, all values are one of sixteen
    network = load_model(model)
    whole = open_dataset("folder", deep, options={"bits": 16, "test_fraction": 1})["test"]
    pixels = materialize(whole, InputSpec.square(1, 32))
    assert pixels.dtype == np.uint16
    expected = probabilities(predict(network, pixels), network.task)[:, network.classes.index("bright")]
    ours = dict(zip(whole.ids, expected.tolist(), strict=True))
    for name, probability in found.items():
        assert ours[name] == pytest.approx(probability, abs=1e-6)


@pytest.mark.parametrize("command", ["explain", "attack-explanation"])
def test_an_option_that_contradicts_the_training_is_refused(command, model, deep, tmp_path, pellucid):
    image = next(deep.glob("*/*.png"))
    code, _, _ = pellucid(command, model, image, "--data-option", "bits=8", *CPU, "--out", tmp_path / "out")
    assert "was trained on images read with bits = 16; now bits = 8 is asked for" in code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate"], ["audit"], ["localize"], ["ara"], ["certify", "--sigma", "0.1"], ["trust"], ["explain"],
        ["attack-explanation"], ["certify-explanation"], ["annotate", "serve", "--no-open", "--split", "test"],
    ],
)  # fmt: skip
def test_data_read_otherwise_than_for_training_are_refused(command, model, deep, tmp_path, pellucid):
    place = ["--data", "folder", "--root", deep, *CPU]
    where = ["--store", tmp_path / "out"] if command[0] == "annotate" else ["--out", tmp_path / "out"]
    verb = 2 if command[0] == "annotate" else 1
    code, _, _ = pellucid(*command[:verb], model, *command[verb:], *place, *where)
    assert "was trained on images read with bits = 16; folder/test is read with bits = 8" in code
    assert "--data-option bits=16" in code
    assert not (tmp_path / "out").exists()


def test_the_same_options_pass(model, deep, tmp_path, pellucid):
    place = ["--data", "folder", "--root", deep, "--data-option", "bits=16"]
    code, _, messages = pellucid("evaluate", model, *place, *CPU, "--out", tmp_path)
    assert (code, messages) == (0, "")


def dicom_folder(folder, count=40):
    """DICOM files with two windows: through the second one most of them is white."""
    rng = np.random.default_rng(0)
    lines = ["SOPInstanceUID,class"]
    for index in range(count):
        values = rng.integers(0, 2000, (40, 40)).astype(np.uint16) + 1500 * (index % 2)
        attributes = {"PatientID": f"P{index}", "SOPInstanceUID": f"1.2.3.{index + 1}"}
        attributes |= {"WindowCenter": [2048, 500], "WindowWidth": [4096, 1000]}
        image = radiograph(folder / f"{index}.dcm", values.astype(np.uint16), index=index, **attributes)
        lines.append(f"{image.SOPInstanceUID},{'bright' if index % 2 else 'dark'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def windowed(tmp_path_factory):
    return dicom_folder(tmp_path_factory.mktemp("dicom"))


@pytest.fixture(scope="module")
def through_second(windowed, tmp_path_factory):
    """A network trained on DICOM files seen through their second window."""
    out = tmp_path_factory.mktemp("runs") / "second"
    place = ["--data", "dicom", "--root", windowed, "--data-option", "window=2"]
    run_command("train", "standard", *place, *NETWORK, "--out", out)
    return out


def test_a_dicom_file_is_explained_through_the_window_of_the_training(through_second, windowed, tmp_path, pellucid):
    file = windowed / "1.dcm"
    code, _, _ = pellucid("explain", through_second, file, *HEATS, "--out", tmp_path)
    assert code == 0
    network = load_model(through_second)
    parts = open_dataset("dicom", windowed, options={"window": 2, "test_fraction": 1})["test"]
    row = [f.path.name for f in parts.files].index("1.dcm")
    pixels = materialize(parts.subset([row]), InputSpec.square(1, 32))
    expected = probabilities(predict(network, pixels), network.task)[0]
    (found,) = explained(tmp_path).values()
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert not np.array_equal(pixels[0], stacked([fitted_file(file, window=1)])[0])  # another window shows others


def fitted_file(path, **how):
    from pellucid.data.decoding.fitting import fit

    return fit(FilePixels(**how).read(path), InputSpec.square(1, 32))


@pytest.mark.parametrize("window", ["1", "0", "none"])
def test_another_window_is_refused_for_files_and_datasets(window, through_second, windowed, tmp_path, pellucid):
    option = ["--data-option", f"window={window}"]
    code, _, _ = pellucid("explain", through_second, windowed / "1.dcm", *option, *HEATS, "--out", tmp_path / "out")
    shown = "default" if window == "none" else window
    assert f"read with window = 2; now window = {shown} is asked for" in code
    place = ["--data", "dicom", "--root", windowed, *option]
    code, _, _ = pellucid("evaluate", through_second, *place, *CPU, "--out", tmp_path / "out")
    assert f"read with window = 2; dicom/test is read with window = {shown}" in code
    assert not (tmp_path / "out").exists()


def test_a_dicom_image_is_known_by_its_uid_in_another_table(through_second, windowed, tmp_path, pellucid):
    """Its pixels are changed, as by a tool that writes a new lossy file of the same instance."""
    other = tmp_path / "other"
    other.mkdir()
    lines = ["SOPInstanceUID,class"]
    for index in range(40):
        values = np.full((40, 40), index * 10, dtype=np.uint16)
        attributes = {"PatientID": f"P{index}", "SOPInstanceUID": f"1.2.3.{index + 1}"}
        attributes |= {"WindowCenter": [2048, 500], "WindowWidth": [4096, 1000]}
        image = radiograph(other / f"x{index}.dcm", values, index=index, **attributes)
        lines.append(f"{image.SOPInstanceUID},{'bright' if index % 2 else 'dark'}")
    (other / "labels.csv").write_text("\n".join(lines) + "\n")
    place = ["--data", "dicom", "--root", other, "--data-option", "window=2", "--data-option", "test_fraction=1"]
    code, _, _ = pellucid("evaluate", through_second, *place, *CPU, "--out", tmp_path / "out")
    trained = len(read_training_record(through_second).trained)
    assert f"was trained on {trained} of the 40 images of dicom/test" in code


def test_images_of_8_and_16_bits_stand_side_by_side():
    light = np.full((1, 2, 2), 200, dtype=np.uint8)
    deep = np.full((1, 2, 2), 4000, dtype=np.uint16)
    both = stacked([light, deep])
    assert both.dtype == np.uint16
    assert both[:, 0, 0, 0].tolist() == [200 * 257, 4000]
    assert stacked([light]).dtype == np.uint8


def test_a_file_is_as_its_dataset_has_it(deep):
    whole = open_dataset("folder", deep, options={"bits": 16, "test_fraction": 1})["test"]
    file = whole.files[3].path
    assert np.array_equal(fitted(whole, 3, InputSpec.square(1, 40))[0][0], np.asarray(Image.open(file)))
    assert np.array_equal(FilePixels(bits=16).read(file), np.asarray(Image.open(file)))
    assert len(np.unique(FilePixels().read(file))) <= 17
