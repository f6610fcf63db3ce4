"""Registries: what can be chosen by name, from this package and from others, imported when it is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, ValuesView
from contextlib import suppress
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from unet_train.errors import UserError

T = TypeVar("T")


def load(target: str) -> Any:
    """What ``package.module:Name`` names, imported now."""
    return EntryPoint(target, target, "").load()


class NamesAnd(Collection[str]):
    """Words, and the names of a registry, which may grow.

    Parameters
    ----------
    registry : Registry
    words : str
        What can be said besides; they come first.
    """

    def __init__(self, registry: Registry[Any], *words: str) -> None:
        self._registry, self._words = registry, words

    def __contains__(self, name: object) -> bool:
        return name in self._words or name in self._registry

    def __iter__(self) -> Iterator[str]:
        yield from self._words
        yield from sorted(self._registry)  # whose own order is that of the imports

    def __len__(self) -> int:
        return len(self._words) + len(self._registry)


class Registry(Mapping[str, T], Generic[T]):
    """Name → what stands behind it. Names are known without importing anything that is heavy.

    Parameters
    ----------
    group : str
        The group of entry points by which other packages add theirs: ``unet_train.encoders``. An entry point's
        name is the name to choose; what it names is what `expected` says. Ours cannot be replaced.
    expected : type
        What a value is an instance of.
    find : callable, optional
        Called once, before the first look-up: registers what is found by looking for it.
    """

    def __init__(self, group: str, expected: type, find: Callable[[], None] | None = None) -> None:
        self._group, self._expected, self._find = group, expected, find
        self._values: dict[str, T] = {}
        self._lazy: dict[str, str] = {}

    def register(self, name: str, value: T) -> T:
        """Add a value; a class that is defined again, as in a notebook, takes the place of its former self.

        Raises
        ------
        ValueError
            For a name that is taken.
        """
        before = getattr(self._values.get(name), "__qualname__", None)
        if before is None or before != getattr(value, "__qualname__", None):
            self._refuse_taken(name)
        self._values[name] = value
        return value

    def register_lazily(self, name: str, target: str) -> None:
        """Add what ``package.module:Name`` names, to be imported at its first use.

        Raises
        ------
        ValueError
            For a name that is taken.
        """
        self._refuse_taken(name)
        self._lazy[name] = target

    def _refuse_taken(self, name: str) -> None:
        if name in self._values or name in self._lazy:
            raise ValueError(f"{self._group}: {name} is registered already")

    @cached_property
    def _outside(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group)}

    def _names(self) -> dict[str, None]:
        if self._find is not None:
            find, self._find = self._find, None
            find()
        return dict.fromkeys([*self._values, *self._lazy, *self._outside])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __getitem__(self, name: str) -> T:
        """What stands behind a name.

        Raises
        ------
        KeyError
            If there is no such name.
        UserError
            If another package's entry point cannot be loaded or names something else, in one line.
        """
        if name not in self._names():
            raise KeyError(name)
        if name not in self._values:
            self._values[name] = load(self._lazy[name]) if name in self._lazy else self._load_outside(name)
        return self._values[name]

    def available(self) -> dict[str, T]:
        """Name → what stands behind it, without what another package offers and cannot load.

        Such an entry point is said where its name is chosen; those who choose something else go on.
        """
        found = {}
        for name in self:
            with suppress(UserError):
                found[name] = self[name]
        return found

    def _load_outside(self, name: str) -> T:
        point = self._outside[name]
        package = point.dist.name if point.dist else "?"
        whose = f"the package {package} offers {name} in {self._group}, but {point.value}"
        try:
            value = point.load()
        # Whatever their module raises while it is imported.
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(f"{whose} cannot be imported ({reason}): mend or uninstall {package}") from error
        fits = isinstance(value, self._expected)
        if not fits:
            raise UserError(f"{whose} is no {self._expected.__name__}: mend or uninstall {package}")
        return value


class Schemas(Mapping[str, type]):
    """Name → the schema of a registry's entry."""

    def __init__(self, registry: Registry[Any]) -> None:
        self._registry = registry

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)

    def __getitem__(self, name: str) -> type:
        return self._registry[name].schema

    def values(self) -> ValuesView[type]:
        """The schemas of all entries that can be loaded."""
        return {name: entry.schema for name, entry in self._registry.available().items()}.values()
