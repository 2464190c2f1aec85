"""Settings: validated sections, nested values laid over one another, and errors that say what to do."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from pellucid.types import InputError
from pellucid.utils.resources import nearest

NORMS = {"linf", "l2", "rms"}


class Section(BaseModel):
    """A part of a configuration: frozen, no key that it does not know, no number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # whose view of the keys is that of the fields

        def __init__(self, **values: Any) -> None:  # noqa: ANN401
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise _as_input_error(type(self), type(self).__name__, error) from error

        __init__.__pydantic_base_init__ = True  # sections inside another one are read without it, and keep their place


Model = TypeVar("Model", bound=BaseModel)


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """Lay nested `values` over `into`, in place.

    A `size` that names a norm is replaced whole, and where a section gets another `name` (another network), the
    `options` of the old one go.
    """
    if "name" in values and values["name"] != into.get("name"):
        into.pop("options", None)
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict) and not _names_a_norm(value):
            merge(into[key], value)
        else:
            into[key] = deepcopy(value)  # what is laid over one is laid over others too, and no two may share it


def _names_a_norm(value: dict[str, Any]) -> bool:
    return bool(value) and set(value) <= NORMS


def parse_override(text: str) -> dict[str, Any]:
    """``a.b=value`` as a nested dict; the value is read as TOML, and as plain text where it is none.

    TOML has no word for nothing: ``none`` takes away what a key holds, as in ``objective.gradient_penalty=none``.

    Example:
        >>> parse_override("objective.attack.size.linf=0.01")
        {'objective': {'attack': {'size': {'linf': 0.01}}}}
    """
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"cannot read {text!r}: expected key=value, as in training.epochs=3.")
    try:
        value: Any = tomllib.loads(f"v = {raw}")["v"]
    except tomllib.TOMLDecodeError:
        value = None if raw.strip() == "none" else raw.strip()
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def split_names(text: str) -> list[str]:
    """Names separated by commas, as in a line of a CSV file: one that holds a comma stands in double quotes.

    Raises:
        InputError: quotes that do not end, or end inside a name.

    Example:
        >>> split_names('Mass, "a, b",x')
        ['Mass', 'a, b', 'x']
    """
    try:
        parts = [part for row in csv.reader([text], skipinitialspace=True, strict=True) for part in row]
    except csv.Error as error:
        raise InputError(
            f"cannot read the names {text!r} ({error}): separate them by commas, put one that holds a comma or a quote "
            'in double quotes, and double a quote inside it, as in Mass,"a, b".'
        ) from error
    return [part.strip() for part in parts if part.strip()]


def name_list(names: str | Iterable[str]) -> list[str]:
    """One name or several, each once; a text is read as `split_names` reads it.

    Raises:
        InputError: something that is no name.

    Example:
        >>> name_list("cam,saliency"), name_list(["cam", "cam"])
        (['cam', 'saliency'], ['cam'])
    """
    parts: list[Any] = split_names(names) if isinstance(names, str) else []
    if not isinstance(names, str):
        parts = list(names) if isinstance(names, Iterable) else [names]
    for part in parts:
        if not isinstance(part, str):
            raise InputError(f"expected a name, or a list of names; found {part!r}.")
    return list(dict.fromkeys(parts))


def _split(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool):  # what a command line reads of unknown=9
        value = str(value)
    return tuple(split_names(value)) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""The names of an option: a list, or one text that `split_names` reads, as from a command line."""


def validate(kind: type[Model], values: Mapping[str, Any] | None, source: str) -> Model:
    """`values` as `kind`, None for its defaults; what is wrong becomes one InputError.

    Raises:
        InputError: naming `source`, and each wrong key with the value found and what is expected.
    """
    if values is not None and not isinstance(values, Mapping):
        raise InputError(f"{source}: expected keys and values; found {type(values).__name__}.")
    try:
        return kind.model_validate(dict(values or {}))
    except ValidationError as error:
        raise _as_input_error(kind, source, error) from error


def _as_input_error(kind: type[BaseModel], source: str, error: ValidationError) -> InputError:
    faults = error.errors()
    inner = [e["loc"] for e in faults]
    own_faults = [  # a list that is "too short" only because of what is wrong inside it needs no message of its own
        e for e in faults if e["type"] != "too_short" or not any(i[: len(e["loc"])] == e["loc"] != i for i in inner)
    ]
    return InputError(f"{source}: {'; '.join(_explain(kind, e) for e in own_faults)}.")


def _explain(kind: type[BaseModel], error: Any) -> str:  # noqa: ANN401
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        keys = _keys_at(kind, error["loc"][:-1])
        return f"unknown key {where!r}" + (f". {nearest(str(error['loc'][-1]), keys)}".rstrip(".") if keys else "")
    if error["type"] == "missing":
        return f"the key {where!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("tuple_type", "list_type"):
        message = 'expected a list, as ["A", "B"]'
    ending = "" if isinstance(error["input"], dict) else f"; found {error['input']!r}"
    return f"{where}: {message}{ending}" if where else f"{message}{ending}"


def _keys_at(kind: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys of the section at a place of a configuration; none where it is no section."""
    for part in location:
        if isinstance(part, int):  # an item of a list: its section was found with the list
            continue
        sections = _sections(kind.model_fields[part].annotation) if part in kind.model_fields else []
        if not sections:
            return []
        kind = sections[0]
    return list(kind.model_fields)


def _sections(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    """The sections that an annotation such as `Section`, `Section | None` or `tuple[Section, ...]` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]
