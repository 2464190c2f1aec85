"""What the project has by name, and what installed packages add to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar, overload


class Named(Protocol):
    """An entry of a registry: it knows what it is called."""

    @property
    def name(self) -> str:
        """As people give it."""
        ...


Entry = TypeVar("Entry", bound=Named)


class Registry(MutableMapping[str, Entry]):
    """Entries by name: the project's own, then those that installed packages declare under an entry point.

    Packages are imported at the first look, so that they may import the project themselves. One that cannot be used is
    left out with a warning: it must not take the rest of the project with it.

    Args:
        group: of the entry points, as `pellucid.explainers`; each names an object of `kind`.
        kind: of every entry.
        own: the project's own.
    """

    def __init__(self, group: str, kind: type[Entry], own: Iterable[Entry]) -> None:
        self._group, self._kind = group, kind
        self._entries = {entry.name: entry for entry in own}
        self._complete = False

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._add_plugins()
        return self._entries[name]

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._add_plugins()
        return iter(self._entries)

    def __len__(self) -> int:
        self._add_plugins()
        return len(self._entries)

    def _add_plugins(self) -> None:
        if self._complete:
            return
        self._complete = True  # before the imports: a package may look here while it is imported
        for point in sorted(entry_points(group=self._group)):
            try:
                entry = self._load(point)
            except Exception as error:  # whatever the package raises
                package = point.dist.name if point.dist is not None else "a package"
                warnings.warn(
                    f"{package} declares {point.name!r} under {self._group}, which cannot be used and is left out "
                    f"({type(error).__name__}: {error}).",
                    stacklevel=2,
                )
            else:
                self._entries[entry.name] = entry

    def _load(self, point: EntryPoint) -> Entry:
        entry = point.load()
        if not isinstance(entry, self._kind):
            raise TypeError(f"expected a {self._kind.__name__}, found a {type(entry).__name__}")
        if entry.name != point.name:
            raise ValueError(f"it calls itself {entry.name!r}")
        if entry.name in self._entries:
            raise ValueError("the name is taken")
        return entry


class Selection(Sequence[str]):
    """The names of those entries of a registry that fulfil a condition, as they are when one looks.

    Args:
        registry: where they are.
        condition: of an entry.
    """

    def __init__(self, registry: Registry[Entry], condition: Callable[[Entry], bool]) -> None:
        def names() -> list[str]:
            return [name for name, entry in registry.items() if condition(entry)]

        self._names = names

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._names()[index]

    def __len__(self) -> int:
        return len(self._names())
