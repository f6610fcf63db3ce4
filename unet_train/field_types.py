"""Values that were read from a file, held against the types that a dataclass declares, before they are used as such."""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

# A number is none of the texts that look like one; true is no 1.
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


@cache
def _adapters(kind: type) -> dict[str, TypeAdapter[Any]]:
    """One for each field, but for those that are dataclasses and checked by themselves."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if not is_dataclass(hint)}
    return {name: TypeAdapter(hint, config=_STRICT) for name, hint in hints.items()}


def check_fields(part: Any) -> None:
    """Check the fields of a dataclass instance against their declared types, those inside containers too.

    Raises
    ------
    ValueError
        Naming the first field with another type, and the place inside it.
    """
    kind: Any = type(part)
    for name, adapter in _adapters(kind).items():
        try:
            adapter.validate_python(getattr(part, name))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(step)[:50] for step in (name, *first["loc"]))
            raise ValueError(f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None
