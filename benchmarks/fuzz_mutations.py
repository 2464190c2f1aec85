"""Ways to damage a file: any file's bytes, a text's numbers and encoding, and the values inside of a known format."""

from __future__ import annotations

import io
import json
import pickle
import re
import sqlite3
import struct
import tomllib
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pydicom
import tomli_w
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Rng = np.random.Generator
NUMBERS = ("-1", "0", "nan", "inf", "-1e308", "1e400", "99999999999999999999", "4294967295", "1e-320", "0x10", "1_0")
WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**25, -1e308, float("nan"), float("inf"), "", "x", "\0", "ü\ud83d", "1", [], {},
    [[]], [None], [float("nan")] * 4, ["x"], {"x": [{}]}, [1e308] * 4, "=1+1", "a/../../b", "9" * 5000,
)  # fmt: skip
INTEGERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\xff\xff")


def flip_bits(data: bytes, rng: Rng) -> bytes:
    """Some bits turned, mostly where headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        changed[_near(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def change_byte(data: bytes, rng: Rng) -> bytes:
    """One byte is another one."""
    at = _near(data, rng)
    return data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]


def truncate(data: bytes, rng: Rng) -> bytes:
    """The file ends early; now and then at once."""
    return data[: int(rng.integers(len(data)))]


def insert(data: bytes, rng: Rng) -> bytes:
    """Some bytes more."""
    at = _near(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 40))) + data[at:]


def duplicate(data: bytes, rng: Rng) -> bytes:
    """A block is there twice."""
    start, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    return data[:end] + data[start:end] + data[end:]


def remove(data: bytes, rng: Rng) -> bytes:
    """A block is gone."""
    start = _near(data, rng)
    return data[:start] + data[start + int(rng.integers(1, 64)) :]


def zero(data: bytes, rng: Rng) -> bytes:
    """A block is zero, as after a power cut."""
    start = int(rng.integers(len(data)))
    end = min(len(data), start + int(rng.integers(1, 512)))
    return data[:start] + b"\0" * (end - start) + data[end:]


def overwrite_integer(data: bytes, rng: Rng) -> bytes:
    """Four bytes are an extreme integer."""
    at = _near(data, rng)
    return data[:at] + INTEGERS[int(rng.integers(len(INTEGERS)))] + data[at + 4 :]


BYTES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    flip_bits, change_byte, truncate, insert, duplicate, remove, zero, overwrite_integer,
)  # fmt: skip


def change_number(data: bytes, rng: Rng) -> bytes:
    """A number of a text is huge, negative, none."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return truncate(data, rng)
    at = found[int(rng.integers(len(found)))]
    return data[: at.start()] + NUMBERS[int(rng.integers(len(NUMBERS)))].encode() + data[at.end() :]


def recode(data: bytes, rng: Rng) -> bytes:
    """The text in another encoding, with a letter that tells."""
    text = data.decode(errors="replace")
    at = int(rng.integers(len(text)))
    encoding = ("utf-16", "utf-16-le", "latin-1", "utf-8-sig", "cp1252", "utf-32")[int(rng.integers(6))]
    return (text[:at] + "ü" + text[at:]).encode(encoding, errors="replace")


def move_lines(data: bytes, rng: Rng) -> bytes:
    """A line is gone, or is there twice."""
    lines = data.splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    return b"".join(lines[:at] + lines[at : at + 1] * (2 * int(rng.integers(2))) + lines[at + 1 :])


def change_sign(data: bytes, rng: Rng) -> bytes:
    """A sign that parts things is another one."""
    signs = b",;|\"'\n\r\t[]{}:=\\/\0"
    found = [i for i, byte in enumerate(data) if byte in signs]
    if not found:
        return truncate(data, rng)
    at = found[int(rng.integers(len(found)))]
    return data[:at] + bytes([signs[int(rng.integers(len(signs)))]]) + data[at + 1 :]


TEXT = (change_number, recode, move_lines, change_sign)


def change_value(value: Any, rng: Rng) -> Any:
    """One value anywhere in nested ones is of a wrong type, huge or gone."""
    holders = [(holder, key) for holder in _holders(value) for key in _keys(holder)]
    if not holders:
        return WRONG[int(rng.integers(len(WRONG)))]
    holder, key = holders[int(rng.integers(len(holders)))]
    what = int(rng.integers(8))
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.append(holder[key])
    elif what == 2:
        holder[key] = [holder[key]]
    elif what == 3:
        holder[key] = {"name": holder[key]}
    else:
        holder[key] = WRONG[int(rng.integers(len(WRONG)))]
    return value


def change_json(data: bytes, rng: Rng) -> bytes:
    """JSON with a wrong value in it."""
    return json.dumps(change_value(json.loads(data), rng)).encode()


def change_toml(data: bytes, rng: Rng) -> bytes:
    """TOML with a wrong value in it; what TOML cannot hold is tried again."""
    while True:
        try:
            return tomli_w.dumps(change_value(tomllib.loads(data.decode()), rng)).encode()
        except (TypeError, AttributeError, UnicodeEncodeError):
            continue


def change_cell(data: bytes, rng: Rng) -> bytes:
    """CSV with a wrong cell in it."""
    lines = [line.split(b",") for line in data.splitlines()]
    line = lines[int(rng.integers(len(lines)))]
    word = (*NUMBERS, "", "x", '"', "a|b||", "../up.png", "0.png", "\0", "9" * 5000)[int(rng.integers(19))]
    line[int(rng.integers(len(line)))] = word.encode()
    return b"\n".join(b",".join(cells) for cells in lines) + b"\n"


def change_member(data: bytes, rng: Rng) -> bytes:
    """A zip, or npz, whose checksums fit, of members that do not: damaged inside, renamed, emptied or gone."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = int(rng.integers(len(members)))
    name, content = members[at]
    what = int(rng.integers(6))
    if what == 0:
        members.pop(at)
    elif what == 1:
        members[at] = (("", "../x", "a\nb", "x" * 300, name + "/", "ü")[int(rng.integers(6))], content)
    elif what == 2 and name.endswith(".npy"):
        members[at] = (name, _npy(odd_array(rng)))
    else:
        members[at] = (name, BYTES[int(rng.integers(len(BYTES)))](content, rng) if content else b"x")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def odd_array(rng: Rng) -> np.ndarray:
    """An array of a kind or shape that no reader expects."""
    return (
        np.float64(np.nan), np.array(["x", "y"]), np.full((3, 2, 2, 2, 2), 7), np.zeros((0, 28, 28), np.uint8),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), np.array([b"\0", b"x"]), np.full((4, 1), np.inf),
        np.array(["2020-01-01"], dtype="M8[D]"), np.array([1 + 2j]), np.full((7, 1), 2**63, np.uint64),
        np.array([{}, None]), np.full((7, 28, 28), -1, np.int16),
    )[int(rng.integers(12))]  # fmt: skip


def change_pickle(data: bytes, rng: Rng) -> bytes:
    """A pickle of a dictionary with a wrong value in it."""
    value = change_value(pickle.loads(data, encoding="bytes"), rng)
    return pickle.dumps(value, protocol=int(rng.integers(3, 6)))


def change_parquet(data: bytes, rng: Rng) -> bytes:
    """Parquet with a column of another type."""
    table = parquet.read_table(io.BytesIO(data), use_threads=False)
    at, n = int(rng.integers(table.num_columns)), table.num_rows
    columns = (
        pa.nulls(n), pa.array([[1]] * n), pa.array([{"a": 1}] * n), pa.array([b"\xff"] * n), pa.array([1e400] * n),
        pa.array([-1] * n), pa.array([10**9] * n, pa.timestamp("s")), pa.array(["x"] * n).dictionary_encode(),
        pa.array([True] * n), pa.array([None, *["9" * 5000] * (n - 1)]), pa.array([2**63] * n, pa.uint64()),
        pa.array([10**30] * n, pa.decimal128(38, 0)), pa.array([0] * n, pa.time32("s")),
    )  # fmt: skip
    name = (table.column_names[at], table.column_names[0], "")[int(rng.choice(3, p=[0.8, 0.1, 0.1]))]
    if rng.integers(8) == 0:
        table = table.remove_column(at)
    else:
        table = table.set_column(at, name, columns[int(rng.integers(len(columns)))])
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()


def change_dicom(data: bytes, rng: Rng) -> bytes:
    """A DICOM file that says something else of its pixels, its spacing or its patient."""
    image = pydicom.dcmread(io.BytesIO(data))
    keywords = (
        "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
        "NumberOfFrames", "PhotometricInterpretation", "PlanarConfiguration", "ImagerPixelSpacing", "WindowCenter",
        "WindowWidth", "RescaleSlope", "RescaleIntercept", "PatientID", "SOPInstanceUID", "VOILUTFunction",
        "SharedFunctionalGroupsSequence", "PixelPaddingValue", "PixelData",
    )  # fmt: skip
    keyword = keywords[int(rng.integers(len(keywords)))]
    vr = pydicom.datadict.dictionary_VR(keyword).split()[0]
    by_kind: dict[str, tuple[Any, ...]] = {
        "US": (0, 1, 3, 7, 12, 33, 65535), "OB": (b"", b"\0" * 7, data[:400]), "UI": ("", "1.2", "x" * 64),
        "SQ": ([], [pydicom.Dataset()]), "CS": ("", "YBR_FULL", "PALETTE COLOR", "MONOCHROME1", "x", "SIGMOID"),
    }  # fmt: skip
    choices = by_kind.get(vr, (None, "", "nan", "-1", "0", "1e300", "x", "99999999999", ["0", "0"], ["1", "2", "3"]))
    if rng.integers(8) == 0:
        image.pop(keyword, None)
    else:
        value = choices[int(rng.integers(len(choices)))]
        if isinstance(value, str | list) and vr != "SQ":  # as text, since pydicom makes no numbers of words
            text = "\\".join([value] if isinstance(value, str) else value).encode()
            tag = pydicom.tag.Tag(keyword)
            image[tag] = pydicom.dataelem.RawDataElement(
                tag, vr, len(text), text + b" " * (len(text) % 2), 0, False, True
            )
        else:
            image[keyword] = pydicom.DataElement(keyword, vr, value)
    stream = io.BytesIO()
    image.save_as(stream)
    return stream.getvalue()


def change_chunk(data: bytes, rng: Rng) -> bytes:
    """A PNG whose checksums fit, with one damaged chunk."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    which = int(rng.integers(len(chunks)))
    kind, content = chunks[which]
    chunks[which] = (kind, BYTES[int(rng.integers(len(BYTES)))](content, rng) if content else rng.bytes(4))
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return data[:8] + b"".join(packed)


def change_database(path: Path, rng: Rng) -> None:
    """An SQLite file, whole as such, with a wrong cell in it, or without a table or a row; in place."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        table = tables[int(rng.integers(len(tables)))]
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = names[int(rng.integers(len(names)))]
        what = int(rng.integers(10))
        words = ("", "x", -1, 1e308, b"\xff\0", "9" * 5000, "[]", "{}", "null", '{"type": "polygon", "points": [[]]}')
        if what == 0:
            connection.execute(f"DROP TABLE {table}")
        elif what == 1:
            connection.execute(f"DELETE FROM {table}")
        elif what == 2 and len(names) > 1:
            connection.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
        else:
            word = words[int(rng.integers(len(words)))]
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (word,))
    connection.close()


def change_safetensors(data: bytes, rng: Rng) -> bytes:
    """A safetensors file whose header says something else; its length fits."""
    size = struct.unpack("<Q", data[:8])[0]
    header = change_json(data[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def _near(data: bytes, rng: Rng) -> int:
    """A place in a file: in its first bytes as often as anywhere."""
    end = min(len(data), 300) if rng.integers(2) else len(data)
    return int(rng.integers(end))


def _holders(value: Any) -> list[Any]:
    """All lists and dictionaries in nested ones."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, list | dict) else []
    return here + [found for item in inner for found in _holders(item)]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


BY_SUFFIX: dict[str, tuple[Callable[[bytes, Rng], bytes], ...]] = {
    ".csv": (*TEXT, change_cell, change_cell),
    ".txt": TEXT,
    ".json": (*TEXT, change_json, change_json, change_json, change_json),
    ".toml": (*TEXT, change_toml, change_toml, change_toml, change_toml),
    ".npz": (change_member,) * 6,
    ".zip": (change_member,) * 6,
    ".png": (change_chunk,) * 6,
    ".dcm": (change_dicom,) * 6,
    ".parquet": (change_parquet,) * 6,
    ".safetensors": (change_safetensors,) * 6,
    "": (change_pickle,) * 6,
}


def damage(path: Path, rng: Rng) -> str:
    """Damage a file in place in a way that suits what its name ends in; what was done."""
    if path.suffix == ".db" and rng.integers(2):
        change_database(path, rng)
        return change_database.__name__
    ways, data = (*BYTES, *BY_SUFFIX.get(path.suffix, ())), path.read_bytes()
    while True:
        way = ways[int(rng.integers(len(ways)))]
        try:
            path.write_bytes(way(data, rng))
        except Exception:  # its own library refuses to write that
            continue
        return way.__name__
