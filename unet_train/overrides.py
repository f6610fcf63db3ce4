"""An override as it is typed on a command line, for the lines that tell a person what to type."""

import shlex
from collections.abc import Mapping
from typing import Any


def as_override(key: str, value: Any) -> str:
    """``key=value`` as it is typed on a command line, quoted for a POSIX shell where that needs it."""

    def said(value: Any) -> str:
        if isinstance(value, Mapping):
            return "{" + ",".join(f"{k}:{said(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list | tuple):
            return "[" + ",".join(map(said, value)) + "]"
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return shlex.quote(f"{key}={said(value)}")
