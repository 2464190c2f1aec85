"""Kept files carry a digest: any byte that changes, is lost or is added is noticed, and the file named."""

from __future__ import annotations

import io
import json
import math
import tomllib

import numpy as np
import pytest
import tomli_w

from pellucid.utils.digests import (
    DamageError,
    line_digest,
    read_arrays,
    read_sealed,
    seal,
    unseal,
    write_arrays,
    write_sealed,
)

VALUES = {"epoch": 3, "loss": 0.1 + 0.2, "best": 1e300, "names": ["ä", "b"], "nested": {"on": True, "off": None}}
ARRAYS = {"logits": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3), "found": np.array([True, False])}


def damages(content):
    """Every kind of damage, at every place of a file."""
    for place in range(len(content)):
        yield content[:place]
        for bit in range(8):
            yield content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        if content[place : place + 1] != b"\0":
            yield content[:place] + b"\0" + content[place + 1 :]
    yield b"\0" * len(content)
    yield content[: len(content) // 2] + b"\0" * (len(content) - len(content) // 2)
    yield content + b"x"
    yield b"garbage \xff\xfe"


def test_arrays_come_back_as_they_were_and_numpy_reads_them_too(tmp_path):
    path = tmp_path / "part.npz"
    write_arrays(path, ARRAYS)
    with np.load(path, allow_pickle=False) as plain:
        for found in (read_arrays(path), {name: plain[name] for name in plain.files}):
            assert list(found) == list(ARRAYS)
            for name, values in ARRAYS.items():
                assert found[name].dtype == values.dtype
                assert np.array_equal(found[name], values)


@pytest.mark.slow
def test_no_damage_to_arrays_is_read(tmp_path):
    path = tmp_path / "part.npz"
    write_arrays(path, ARRAYS)
    count = 0
    for content in damages(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(DamageError, match=r"part\.npz is damaged \(.*\)\. Delete it"):
            read_arrays(path)
        count += 1
    assert count > 3000


def test_arrays_of_an_earlier_version_are_refused(tmp_path):
    path = tmp_path / "part.npz"
    np.savez_compressed(path, **ARRAYS)
    with pytest.raises(DamageError, match="carries no digest"):
        read_arrays(path)


def test_no_damage_to_sealed_values_is_read_as_something_else(tmp_path):
    path = tmp_path / "progress.json"
    write_sealed(path, VALUES)
    good, refused = path.read_bytes(), 0
    for content in damages(good):
        path.write_bytes(content)
        try:
            assert read_sealed(path) == VALUES  # a blank more or less changes nothing
        except DamageError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused > 0.9 * 8 * len(good.replace(b" ", b""))


def test_values_keep_their_digest_through_json_and_toml():
    content = {k: v for k, v in VALUES.items() if k != "nested"} | {"worst": math.inf, "unknown": math.nan}
    for read in (
        json.loads(json.dumps(seal(content))),
        tomllib.loads(tomli_w.dumps(seal(content))),
        json.loads(json.dumps(dict(reversed(seal(content).items())))),
    ):
        found = unseal(read, "run.toml")
        assert math.isnan(found.pop("unknown"))
        assert found == {k: v for k, v in content.items() if k != "unknown"}


def test_not_a_number_becomes_null_and_still_fits(tmp_path):
    write_sealed(tmp_path / "a.json", {"score": math.nan, "rows": (1, np.float32(0.5))})
    assert read_sealed(tmp_path / "a.json") == {"score": None, "rows": [1, 0.5]}


@pytest.mark.parametrize("content", ["", "[1]", "null", "[" * 100_000, '{"a": 1}', "{", "\ufeff{}"])
def test_what_is_no_sealed_file_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(DamageError, match=r"a\.json is damaged"):
        read_sealed(tmp_path / "a.json")


def test_a_line_has_another_digest_once_a_field_moves_or_changes():
    lines = [["a", "b", "c"], ["a", "bc", ""], ["ab", "", "c"], ["a", "b", "c", ""], ["a,b", "c"], ["a", "b", "C"]]
    assert len({line_digest(line) for line in lines}) == len(lines)
    assert {len(line_digest(line)) for line in lines} == {16}


def test_a_large_array_is_one_file_that_stays_a_zip(tmp_path):
    import zipfile

    write_arrays(tmp_path / "a.npz", {"x": np.zeros(100_000)})
    with zipfile.ZipFile(io.BytesIO((tmp_path / "a.npz").read_bytes())) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")
