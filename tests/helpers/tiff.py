"""A TIFF as its specification has it, written byte by byte: any bits, sign, interpretation and byte order."""

from __future__ import annotations

import struct

import numpy as np


def tiff(path, samples, *, bits, sign=1, photometric=1, order="<", orientation=None, extra=()):
    """Write (H, W) or (H, W, K) samples as one strip; `sign` is 1 unsigned, 2 signed, 3 float, None unsaid."""
    samples = np.asarray(samples)
    height, width, count = (*samples.shape, 1)[:3]
    if bits < 8 or bits == 12:
        values = (samples.reshape(height, -1).astype(np.int64) & (2**bits - 1)).astype(np.uint64)
        shifts = np.arange(bits - 1, -1, -1, dtype=np.uint64)
        of_rows = ((values[:, :, None] >> shifts) & np.uint64(1)).astype(np.uint8).reshape(height, -1)
        strip = np.packbits(of_rows, axis=1).tobytes()
    else:
        strip = samples.astype(f"{order}{'?uif'[sign or 1]}{bits // 8}").tobytes()
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * count),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (273, 4, [0]),
        (277, 3, [count]),
        (278, 4, [height]),
        (279, 4, [len(strip)]),
        *([(274, 3, [orientation])] if orientation else []),
        *([(339, 3, [sign] * count)] if sign else []),
        *extra,
    ]
    entries.sort()
    at = 8 + 2 + 12 * len(entries) + 4
    behind, rows = b"", []
    for tag, kind, values in entries:
        packed = struct.pack(f"{order}{len(values)}{'HI'[kind - 3]}", *values)
        if len(packed) > 4:
            packed, behind = struct.pack(f"{order}I", at + len(behind)), behind + packed
        rows.append([tag, kind, len(values), packed.ljust(4, b"\0")])
    start = at + len(behind)
    for row in rows:
        if row[0] == 273:
            row[3] = struct.pack(f"{order}I", start)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(rows))
    table = b"".join(struct.pack(f"{order}HHI", *row[:3]) + row[3] for row in rows) + b"\0\0\0\0"
    path.write_bytes(head + table + behind + strip)
    return path
