"""Libraries of extras, imported where they are needed, with one line of advice where they do not load."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from unet_train.errors import UserError


def import_extra(module: str, extra: str, what: str, needed_for: Path) -> ModuleType:
    """A library that an extra installs.

    Parameters
    ----------
    module, extra : str
        Names of the library and of the extra.
    what : str
        What needs it, for the message.
    needed_for : Path
        The file that is to be read.

    Raises
    ------
    UserError
        If it is not installed or does not load; names the file and the ``pip install``.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError) as error:
        detail = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{needed_for}: {module} cannot be imported ({detail}): {what} need the extra, "
            f'pip install "unet-train[{extra}]"'
        ) from error
