"""The recipes' settings side by side: those in which they differ, and those that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def settings(
    variants: Iterable[Mapping[str, Any]],
) -> tuple[list[tuple[str, list[str]]], list[tuple[str, str]]]:
    """The settings in which recipes differ (name, a value for each), and those that they share (name, value).

    Example:
        >>> settings([{"settings": {"loss": {"mix": mix}, "seed": 0}} for mix in (1, 0.5)])
        ([('loss.mix', ['1', '0.5'])], [('seed', '0')])
    """
    flat = [dict(flatten(v.get("settings", {}))) for v in variants]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    table = [(key, [one.get(key, "–") for one in flat]) for key in keys]
    return [row for row in table if len(set(row[1])) > 1], [(k, v[0]) for k, v in table if len(set(v)) == 1]


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """A nested dictionary as dotted names and text values."""
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: object) -> str:
    words: Mapping[object, str] = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(v) for v in value) or "none"
    return str(value)
