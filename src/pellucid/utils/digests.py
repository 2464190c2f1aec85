"""What is kept on disk to go on from, with a digest (SHA-256) that is checked whenever it is read.

Three forms, for what is read whole, for arrays, and for files that grow:

- `seal` / `unseal`: plain values, with the key `sha256` over all others; as JSON files `write_sealed` / `read_sealed`,
  and just as well a TOML file or one line of JSON.
- `write_arrays` / `read_arrays`: an npz file that any numpy reads. The digest of all bytes before it is the zip
  archive's comment, so nothing of a damaged file is ever parsed.
- `line_digest`: for one line of a table to which lines are added. A line without an end was torn by a kill; a whole
  line whose digest does not fit was damaged.

What does not fit its digest raises `DamageError`: a caller that can make it again does so, and says it; any other lets
it pass to the user, whom it tells the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

from pellucid.types import InputError
from pellucid.utils.resources import finite, whole_file, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

KEY = "sha256"
DIGITS = 64
LINE_DIGITS = 16  # of a line's digest
_MARK = b"sha256:"


class DamageError(InputError):
    """A file that is not what was written."""


def damaged(path: Path | str, reason: object, advice: str = "Delete it to have it made again.") -> DamageError:
    """The error for a file that is not what was written.

    Example:
        >>> str(damaged("kept/a.npz", "it is empty"))
        'kept/a.npz is damaged (it is empty). Delete it to have it made again.'
    """
    return DamageError(f"{path} is damaged ({reason}). {advice}".rstrip())


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits.

    Example:
        >>> digest(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values and their digest, under `sha256`; read again from JSON or TOML they have the same one.

    Example:
        >>> sealed = seal({"epoch": 1, "loss": 0.25})
        >>> sealed["sha256"][:8]
        '942cc441'
        >>> unseal(sealed, "metrics.jsonl")
        {'epoch': 1, 'loss': 0.25}
    """
    content = {key: value for key, value in values.items() if key != KEY}
    return content | {KEY: digest(_canonical(content))}


def unseal(values: object, path: Path | str, advice: str = "Delete it to have it made again.") -> dict[str, Any]:
    """What `seal` was given.

    Args:
        values: what was read.
        path: from which file, for the message.
        advice: what to do where it is damaged.

    Raises:
        DamageError: the digest does not fit, or there is none: an earlier version wrote none.
    """
    if not isinstance(values, dict):
        raise damaged(path, "it holds no keys and values", advice)
    content = {key: value for key, value in values.items() if key != KEY}
    if KEY not in values:
        raise damaged(path, "it carries no digest; earlier versions wrote none", advice)
    if values[KEY] != digest(_canonical(content)):
        raise damaged(path, "it does not fit its own digest", advice)
    return content


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON with its digest, whole or not at all; NaN and infinity become null."""
    content: dict[str, Any] = finite(dict(values))
    write_text(path, json.dumps(seal(content), indent=2, ensure_ascii=False) + "\n")


def read_sealed(path: Path, advice: str = "Delete it to have it made again.") -> dict[str, Any]:
    """The values of a JSON file that `write_sealed` wrote.

    Raises:
        DamageError: it is not what was written.
        OSError: it is not there, or cannot be read.
    """
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is not valid JSON: {error}", advice) from error
    return unseal(values, path, advice)


def write_arrays(path: Path, arrays: Mapping[str, npt.ArrayLike]) -> None:
    """Write named arrays as a compressed npz file with its digest, whole or not at all.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_arrays(Path(folder) / "part.npz", {"radius": [0.5, 2.0]})
        ...     read_arrays(Path(folder) / "part.npz")
        {'radius': array([0.5, 2. ])}
    """
    import numpy as np

    stream = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(values) for name, values in arrays.items()}
    np.savez_compressed(stream, **named)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = _MARK + b"0" * DIGITS
    content = stream.getvalue()[:-DIGITS]
    with whole_file(path) as temporary:
        temporary.write_bytes(content + digest(content).encode())


def read_arrays(path: Path, advice: str = "Delete it to have it made again.") -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file that `write_arrays` wrote.

    Raises:
        DamageError: it is not what was written.
        OSError: it is not there, or cannot be read.
    """
    import numpy as np

    whole = path.read_bytes()
    content, end = whole[:-DIGITS], whole[-DIGITS:]
    if not content.endswith(_MARK):
        reason = "it carries no digest: it was cut, or an earlier version wrote it" if whole else "it is empty"
        raise damaged(path, reason, advice)
    if digest(content).encode() != end:
        raise damaged(path, "it does not fit its own digest", advice)
    with np.load(io.BytesIO(whole), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def line_digest(fields: Sequence[str]) -> str:
    """The digest of one line of a table, its last field: of the other fields as they stand in the file.

    Example:
        >>> line_digest(["multiclass", "a.png", "0.25"])
        '359f65f2070eb151'
    """
    return digest(_canonical(list(fields)))[:LINE_DIGITS]


def _canonical(values: object) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
