"""What commands begin with: the model on its device, images or a part of a dataset, what their options' texts mean."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.data.dataset import Dataset, Splits
    from pellucid.models.classifier import AnyClassifier


def load(path: Path, device: str, trust_code: bool = False) -> AnyClassifier:
    """The model that an argument MODEL names, on the device that --device names."""
    from pellucid.models import load_model
    from pellucid.utils.devices import pick_device

    return load_model(path, pick_device(device), trust_code=trust_code)


def open_splits(name: str, root: Path | None, options: Sequence[str] | None, seed: int = 0) -> Splits:
    """The dataset that the options name."""
    from pellucid.data.registry import open_dataset

    return open_dataset(name, root, seed=seed, options=key_values(options))


def open_part(name: str, root: Path | None, options: Sequence[str] | None, split: str) -> Dataset:
    """The part of a dataset that the options name."""
    from pellucid.data.dataset import get_split

    return get_split(open_splits(name, root, options), split)


def given_images(
    images: list[Path] | None, data: str | None, root: Path | None, options: Sequence[str] | None, split: str
) -> list[Path] | Dataset:
    """The image files that a command was given, or the part of a dataset that was named instead.

    Raises:
        InputError: both or neither are named; a place without the dataset's name.
    """
    from pellucid.types import InputError

    if bool(images) == (data is not None):
        raise InputError("name image files, or a dataset with --data: one of the two.")
    if data is not None:
        return open_part(data, root, options, split)
    if root is not None:
        raise InputError("--root is where the dataset of --data lies; name the dataset too, or leave it out.")
    return list(images or ())


def alone_in_out(command: Callable[..., None]) -> Callable[..., None]:
    """The command, during which no other process works in the folder that it writes to.

    Several files make a result: those of two commands at once would be mixed, and each would look whole.
    """

    @wraps(command)
    def run(**options: Any) -> None:  # noqa: ANN401
        from pellucid.utils.locks import hold

        with hold(options["out"]):
            command(**options)

    return run


def key_values(texts: Sequence[str] | None) -> dict[str, Any]:
    """``["a=1", "b.c=x"]`` as nested values."""
    from pellucid.utils.settings import merge, parse_override

    values: dict[str, Any] = {}
    for text in texts or ():
        merge(values, parse_override(text))
    return values


def name_pairs(texts: Sequence[str] | None, option: str) -> dict[str, list[str]]:
    """``["a=1", "a=2"]`` as ``{"a": ["1", "2"]}``: what stands on the right of each name on the left.

    Raises:
        InputError: a text without a name on either side.
    """
    from pellucid.types import InputError

    pairs: dict[str, list[str]] = {}
    for text in texts or ():
        left, _, right = text.partition("=")
        if not left.strip() or not right.strip():
            raise InputError(f"{option} {text!r}: expected two names with an equals sign between them, as A=B.")
        pairs.setdefault(left.strip(), []).append(right.strip())
    return pairs


def single_values(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as ``{"a": "1", "b": "2"}``.

    Raises:
        InputError: a text without a name on either side; a name that is given more than once.
    """
    from pellucid.types import InputError

    pairs = name_pairs(texts, option)
    for name, others in pairs.items():
        if len(others) > 1:
            raise InputError(f"{option} names {name!r} more than once, with {' and '.join(others)}.")
    return {name: others[0] for name, others in pairs.items()}


def class_map(texts: Sequence[str] | None) -> dict[str, str]:
    """What --map says: the data's name for each of the model's classes that is named.

    Raises:
        InputError: a class of the model that is named twice.
    """
    return single_values(texts, "--map")


def choices(text: str, names: Any, kind: str) -> list[str]:  # noqa: ANN401
    """Names as `split_names` reads them, each of them known."""
    from pellucid.utils.resources import check_known
    from pellucid.utils.settings import split_names

    return check_known(split_names(text), names, kind)


def numbers(text: str, option: str) -> list[float]:
    """Numbers that are separated by commas.

    Raises:
        InputError: naming the option, for text that is none.
    """
    from pellucid.types import InputError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r}: expected numbers separated by commas.") from error


def names_or_file(text: str, option: str) -> list[str]:
    """Names separated by commas, or those of a text file with one per line.

    Raises:
        InputError: naming the option, for a text file that is not there or names nothing.
    """
    from pellucid.types import InputError
    from pellucid.utils.settings import split_names

    path = Path(text)
    if path.is_file():
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if not names:
            raise InputError(f"{option}: {path} names no class: write one per line, in the order of the outputs.")
        return names
    if path.suffix == ".txt":
        raise InputError(f"{option}: no file {path}.")
    return split_names(text)
