"""JSRT on files written in the release's format: bytes to grey values, the table to boxes, and what can be wrong."""

from __future__ import annotations

import json
import os
import shutil
import struct
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pellucid.data import check_dataset, get_split, materialize, open_dataset
from pellucid.data.issues import MISSING
from pellucid.data.readers.jsrt.pixels import FILE_BYTES, read_raw
from pellucid.data.readers.jsrt.reader import check
from pellucid.data.readers.jsrt.table import NODULES, NORMALS, read_rows
from pellucid.study import load_study, run_study
from pellucid.types import InputError, InputSpec

FIRST = "JPCLN001.IMG\t5\t15\t53\tmale\t1634\t692\tmalignant\tl.upper lobe\tlung cancer"
SECOND = "JPCLN002.IMG\t5\t30\t?\tfemale\t1614\t1090\tbenign\tl.upper lobe(S5)\tpulmonary hematoma"


def row(name, x=1000, y=900, size=15):
    return f"{name}.IMG\t3\t{size}\t60\tfemale\t{x}\t{y}\tbenign\tr.lower lobe\tgranuloma"


def blank(path):
    """A file of the right size without any content on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(FILE_BYTES)


def write_release(folder, names, table=None):
    for name in names:
        blank(folder / f"{name}.IMG")
    rows = [row(name) for name in NODULES] if table is None else table
    (folder / "CLNDAT_EN.txt").write_bytes("\r".join([*rows, "", ""]).encode())  # its line ends are an old Macintosh's
    return folder


@pytest.fixture
def release(tmp_path):
    """All 247 files in one folder, empty."""
    return write_release(tmp_path / "jsrt", (*NODULES, *NORMALS))


def quietly(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_dataset("jsrt", folder, **options)


def test_pixels_are_big_endian_row_by_row_and_a_dense_film_is_dark(tmp_path):
    values = {(0, 0): 0, (0, 1): 4095, (1, 0): 1, (3, 2047): 2048, (2047, 2047): 291}
    path = tmp_path / "JPCNN001.IMG"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES)
        for (y, x), value in values.items():
            file.seek(2 * (2048 * y + x))
            file.write(struct.pack(">H", value))
    pixels = read_raw(path)
    assert pixels.dtype == np.uint16
    assert pixels.shape == (2048, 2048)
    for (y, x), value in values.items():
        assert pixels[y, x] == round((4095 - value) * 65535 / 4095)
    assert (pixels[0, 0], pixels[0, 1]) == (65535, 0)


def test_a_whole_image_keeps_its_4096_levels(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (2048, 2048))
    path = tmp_path / "JPCNN001.IMG"
    path.write_bytes(b"".join(struct.pack(">2048H", *line) for line in values.tolist()))
    pixels = read_raw(path)
    assert np.abs(pixels / 65535 - (1 - values / 4095)).max() <= 0.5 / 65535 + 1e-12
    assert len(np.unique(pixels)) == 4096


@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n", "\r\r", ""])
def test_the_table_gives_the_place_of_each_nodule(tmp_path, ends):
    path = tmp_path / "CLNDAT_EN.txt"
    path.write_bytes(ends.join([FIRST, SECOND, row("JPCLN003", 10, 2040, 60)]).encode() + b"\r\n")
    nodules, _ = read_rows(path, faults := [])
    assert faults == []
    assert list(nodules) == ["JPCLN001", "JPCLN002", "JPCLN003"]
    first = nodules["JPCLN001"]
    assert (first.subtlety, first.size, first.x, first.y) == (5, 15, 1634, 692)
    side = 15 / 0.175  # pixels
    assert np.allclose(np.array(first.box) * 2048, [1634 - side / 2, 692 - side / 2, side, side])
    assert nodules["JPCLN002"][1:] == (5, 30, 1614, 1090)  # of unknown age
    radius = 60 / 0.175 / 2
    cut = [0, 2040 - radius, 10 + radius, 8 + radius]  # at the left and the lower border
    assert np.allclose(np.array(nodules["JPCLN003"].box) * 2048, cut)


def test_parts_have_both_kinds_and_are_the_seeds(release):
    first, again, other = (open_dataset("jsrt", release, seed=seed) for seed in (0, 0, 1))
    assert list(first) == ["train", "validation", "test"]
    assert sorted(name for part in first.values() for name in part.ids) == sorted((*NODULES, *NORMALS))
    assert {k: v.fingerprint for k, v in first.items()} == {k: v.fingerprint for k, v in again.items()}
    assert first["test"].ids != other["test"].ids
    for dataset in first.values():
        assert dataset.classes == ("Nodule",)
        assert dataset.targets.dtype == np.float32
        assert dataset.targets[:, 0].tolist() == [float(name.startswith("JPCLN")) for name in dataset.ids]
        assert set(dataset.targets[:, 0]) == {0.0, 1.0}
        assert [r.image for r in dataset.regions.items] == np.flatnonzero(dataset.targets[:, 0]).tolist()
        assert dataset.patients == dataset.ids
    assert 30 <= len(first["test"]) <= 70  # 49, give or take three standard deviations
    only = open_dataset("jsrt", release, options={"test_fraction": 1})
    assert list(only) == ["test"]
    assert len(only["test"]) == 247
    assert check(release) == []


def test_a_partial_copy_in_the_releases_folders_is_cut_as_the_whole(release, tmp_path):
    whole = {name: part for part, dataset in open_dataset("jsrt", release).items() for name in dataset.ids}
    chosen = (*NODULES[:40], *NORMALS[:30])
    copy = tmp_path / "copy"
    for name in chosen:
        folder = "Nodule154images" if name in NODULES else "NonNodule93images"
        blank(copy / folder / f"{name.lower()}.img")  # some unpackers give small letters
    (copy / "Clinical_Information").mkdir()
    shutil.copy(release / "CLNDAT_EN.txt", copy / "Clinical_Information" / "clndat_en.TXT")
    (copy / "loop").symlink_to(copy)
    with pytest.warns(UserWarning, match="70 of 247 films found"):
        parts = open_dataset("jsrt", copy)
    assert {name: part for part, dataset in parts.items() for name in dataset.ids} == {n: whole[n] for n in chosen}
    assert {issue.file for issue in check(copy)} == {*NODULES, *NORMALS} - set(chosen)


@pytest.mark.parametrize("size", [0, 1, FILE_BYTES - 1, FILE_BYTES + 1, FILE_BYTES // 2])
def test_a_file_of_another_size_is_refused_by_name(tmp_path, size):
    path = tmp_path / "JPCLN001.IMG"
    with path.open("wb") as file:
        file.truncate(size)
    found = f"{size:,} bytes" if size < FILE_BYTES else "more than 8,388,608 bytes"
    with pytest.raises(InputError, match=rf"JPCLN001\.IMG: {found}; a raw file of JSRT has 8,388,608"):
        read_raw(path)


def test_the_other_byte_order_is_refused_and_a_few_stray_values_are_not(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (2048, 2048), dtype=np.uint16)
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes(values.astype("<u2").tobytes())
    with pytest.raises(InputError, match=r"above 4,095, the largest value of 12 bits.*high byte first"):
        read_raw(path)
    values[5, :3] = (4096, 5000, 65535)
    path.write_bytes(values.astype(">u2").tobytes())
    assert read_raw(path)[5, :3].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="cannot be read"):
        read_raw(tmp_path / "JPCLN002.IMG")


@pytest.mark.slow
def test_the_check_names_every_broken_file_and_training_refuses(tmp_path):
    folder = write_release(tmp_path / "jsrt", (*NODULES[:12], *NORMALS[:12]))
    splits = quietly(folder)
    broken = [folder / f"{splits['train'].ids[i]}.IMG" for i in (0, 3)]
    broken[0].write_bytes(b"")
    broken[1].write_bytes(b"\xff" * FILE_BYTES)
    problems = {p.file: p.reason for p in check_dataset("jsrt", folder).problems}
    assert "0 bytes; a raw file" in problems[str(broken[0])]
    assert "above 4,095" in problems[str(broken[1])]
    with pytest.raises(InputError, match=broken[0].name):
        materialize(get_split(quietly(folder), "train"), InputSpec.square(1, 32))


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (["JPCLN001.IMG\t5\t15\t53\tmale\t1634"], r"row 1: expected file, subtlety, size"),
        ([FIRST, "JPCLN002.IMG\t5\tbig\t53\tmale\t1634\t692"], r"row 2: expected file"),
        ([FIRST, FIRST], r"row 2: JPCLN001 is there more than once"),
        (["JPCLN155.IMG\t5\t15\t53\tmale\t1634\t692"], r"row 1: 'JPCLN155' is no film with a nodule"),
        (["JPCNN001.IMG\t5\t15\t53\tmale\t1634\t692"], r"'JPCNN001' is no film with a nodule"),
        (["JPCLN001.IMG\t6\t15\t53\tmale\t1634\t692"], r"subtlety 6; expected 1 to 5"),
        (["JPCLN001.IMG\t5\tnan\t53\tmale\t1634\t692"], r"a size of nan mm"),
        (["JPCLN001.IMG\t5\t0\t53\tmale\t1634\t692"], r"a size of 0 mm"),
        (["JPCLN001.IMG\t5\t15\t53\tmale\tnan\t692"], r"a nodule at nan, 692"),
        (["JPCLN001.IMG\t5\t15\t53\tmale\t2048\t692"], r"a nodule at 2048, 692; the image has 2048 × 2048"),
        ([], r"names no film such as JPCLN001\.IMG"),
        ([FIRST], r"no row for JPCLN002, which is there"),
    ],
)
def test_a_table_that_makes_no_sense(tmp_path, table, match):
    folder = write_release(tmp_path / "jsrt", (*NODULES[:2], *NORMALS[:2]), table)
    with pytest.raises(InputError, match=match) as caught:
        open_dataset("jsrt", folder)
    assert "CLNDAT_EN.txt" in str(caught.value)


def test_the_check_names_every_row_and_goes_on(tmp_path):
    rows = [FIRST, "JPCLN002.IMG\t5\tbig\t53\tmale\t1634\t692", "JPCLN003.IMG\t6\t15\t53\tmale\t1634\t692"]
    folder = write_release(tmp_path / "jsrt", (*NODULES[:4], *NORMALS[:3]), rows)
    second = folder / "again"
    second.mkdir()
    blank(second / f"{NORMALS[0]}.IMG")
    report = check_dataset("jsrt", folder, options={"test_fraction": 1})
    told = [p.reason for p in report.problems if p.reason != MISSING]
    assert ["row 2" in told[1], "row 3" in told[2], "no row for JPCLN004" in told[3]] == [True] * 3, told
    assert "the same film as" in told[0]
    assert len(told) == 4
    assert report.found == 4
    assert report.parts["test"].labels == {"Nodule": 1}


def test_folders_that_are_not_the_releases(tmp_path):
    folder = write_release(tmp_path / "jsrt", (*NODULES[:3], *NORMALS[:3]))
    blank(folder / "All247images" / f"{NODULES[0]}.IMG")
    with pytest.raises(InputError, match=r"the same film as .*Take one of them away"):
        open_dataset("jsrt", folder)
    empty = tmp_path / "other"
    (empty / "images").mkdir(parents=True)
    with pytest.raises(InputError, match=r"none of the 247 films is there\. Expected: JPCLN001 … JPCLN154"):
        open_dataset("jsrt", empty)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from([b"JPCLN001.IMG", b"jpcln154.img", b"\t", b"\r", b" ", b"5", b"1634", b"?", b"nan", b"1e999"])
        | st.binary(max_size=3)
    ).map(b"".join)
)
@example(b"\xef\xbb\xbf" + FIRST.encode())
def test_any_table_is_read_or_refused(tmp_path, data):
    path = tmp_path / "CLNDAT_EN.txt"
    path.write_bytes(data)
    try:
        nodules, _ = read_rows(path, [])
    except InputError:
        return
    for nodule in nodules.values():
        x, y, width, height = nodule.box
        assert 0 <= x < x + width <= 1
        assert 0 <= y < y + height <= 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 64) | st.integers(FILE_BYTES - 3, FILE_BYTES + 3),
    pattern=st.binary(min_size=1, max_size=16),
)
def test_any_raw_file_is_read_or_refused(tmp_path, size, pattern):
    path = tmp_path / "JPCLN001.IMG"
    path.write_bytes((pattern * (size // len(pattern) + 1))[:size])
    try:
        pixels = read_raw(path)
    except InputError:
        return
    assert size == FILE_BYTES
    assert pixels.shape == (2048, 2048)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_check", "empty_charts")
def test_the_study_runs(tmp_path):
    yy, xx = np.mgrid[:2048, :2048]
    plain = 1500 + 1000 * np.sin(xx / 300) * np.cos(yy / 400)
    bright = plain - 900 * (((xx - 1000) ** 2 + (yy - 900) ** 2) < 150**2)  # a nodule absorbs: the film stays clear
    folder = write_release(tmp_path / "jsrt", (NODULES[0], NORMALS[0]))
    for first, names, values in ((NODULES[0], NODULES[1:14], bright), (NORMALS[0], NORMALS[1:14], plain)):
        source = folder / f"{first}.IMG"
        source.write_bytes(values.astype(">u2").tobytes())
        for name in names:
            os.link(source, folder / f"{name}.IMG")  # the same image, which is enough to see the study through
    tiny = [
        "settings.model={name='small', size=32, options={widths=[8, 16], blocks=[1, 1], strides=[1, 2]}}",
        "settings.training={epochs=1, batch_size=16}",
        "seeds=[0]",
        "evaluation.resamples=100",
        "evaluation.methods=['cam', 'saliency']",
        "evaluation.ara.limit=4",
        "evaluation.adversarial={cases=1, rhos=[0.05]}",
    ]
    out = tmp_path / "out"
    report = run_study(load_study("jsrt", tiny), folder, out, device="cpu", jobs=1)
    results = json.loads((out / "results.json").read_text())
    assert [variant["label"] for variant in results["variants"]] == ["standard", "penalty", "penalty and attacks"]
    assert report.read_text().count('class="slide-rho"') == 1
