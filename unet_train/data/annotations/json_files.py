"""JSON files: what they hold by their first bytes, and one line for what is wrong with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from unet_train.data.io.files import read_bytes
from unet_train.errors import UserError

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]')


def top_keys(head: bytes) -> set[str]:
    """Keys of the outermost object, or of those in the outermost list, as far as a file's first bytes tell."""
    found: set[str] = set()
    brackets: list[str] = []
    text = ""
    for token in _TOKEN.findall(head.decode("utf-8", errors="ignore")):
        if token in "[{":
            brackets.append(token)
        elif token in "]}":
            del brackets[-1:]
        elif token == ":" and brackets in (["{"], ["[", "{"]):
            found.add(text)
        text = token[1:-1] if token.startswith('"') else ""
    return found


def read_json(path: Path) -> Any:
    """What a JSON file holds; a byte order mark is passed over.

    Raises
    ------
    UserError
        Names the file and the place in it.
    """
    data = read_bytes(path)
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; save the file in UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno} ({error.msg}); export it again"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: broken JSON (brackets too deep); export it again") from None


def image_size_in(data: dict[str, Any], height: str, width: str) -> tuple[int, int] | None:
    """Height and width by their keys; None where they are not both there, or nothing."""
    sizes = (data.get(height), data.get(width))
    if not all(isinstance(size, int | float) and 0 < size < 2**31 for size in sizes):
        return None
    return int(sizes[0]), int(sizes[1])  # type: ignore[arg-type]
