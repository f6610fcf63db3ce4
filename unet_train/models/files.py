"""Files of tensors: read though they may be damaged or ill-intended, written whole or not at all."""

import json
import os
import pickle
import shlex
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet_train.atomic import replacing
from unet_train.errors import UserError

PICKLE_START = b"\x80"
ZIP_START = b"PK\x03\x04"


def read_checkpoint(path: str | Path) -> Any:
    """Read what ``torch.save`` wrote, onto the CPU. Never runs code from the file.

    Checkpoints of today's format are zip archives whose members carry a checksum: it is verified first,
    because torch itself loads a file with a flipped byte without a word. The format of before torch 1.6
    (many published weights) is read too; it has no checksum.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Any
        The content: tensors and plain Python types only.

    Raises
    ------
    UserError
        One line with the file's name: it does not exist, is a folder, empty, truncated, damaged, something
        else than a checkpoint, or holds Python objects that could run code.
    """
    path = Path(path)
    check_file(path)
    with path.open("rb") as file:
        start = file.read(4)
    if start == ZIP_START:
        _check_zip(path)
    elif start[:1] != PICKLE_START:
        raise UserError(f"{path} is not a checkpoint: it was not written by torch.save")
    try:
        with warnings.catch_warnings():  # torch's about old pickles, which the message below says better
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Checksums having been right, a zip's pickle can only hold what weights_only refuses.
        if start == ZIP_START or "global" in str(error).lower():
            raise UserError(
                f"{path} is refused: it holds Python objects besides tensors and plain values, which could run code "
                f"when read; if you trust it, save its state dict alone: {_saving_line(path)}"
            ) from error
        raise UserError(f"{path} is damaged: copy or download it again") from error
    # torch.load has no error of its own: RuntimeError, EOFError, KeyError, … by what it stumbles over.
    except Exception as error:
        raise UserError(f"{path} is damaged or truncated: copy or download it again") from error


def _saving_line(path: Path) -> str:
    """The command that saves the state dict of a file with other objects in it, such as Lightning's checkpoints."""
    with path.open("rb") as file:
        # The pickle comes first in torch's zip archives, and its words are not compressed.
        start = file.read(1 << 24)
    has_dict = (
        b"X\n\0\0\0state_dict" in start or b"\x8c\nstate_dict" in start
    )  # the word in protocol 2, and 4
    inside = '["state_dict"]' if has_dict else ".state_dict()"
    old, new = (json.dumps(str(name), ensure_ascii=False) for name in (path, path.with_suffix(".state.pt")))
    read = f'torch.load({old}, map_location="cpu", weights_only=False){inside}'
    return f"python -c {shlex.quote(f'import torch; torch.save({read}, {new})')}"


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint, a plain state dict or a safetensors file, by name.

    Looks inside a dict for the state dict (``state_dict``, ``model_state_dict``, ``model``, ``net``, …).

    Raises
    ------
    UserError
        As :func:`read_checkpoint`, and if there are no named tensors inside.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        content: Any = _read_safetensors(path)
    else:
        content = read_checkpoint(path)
    tensors = _named_tensors(content)
    if not tensors:
        raise UserError(f"{path} holds no named tensors: weights are a dict from names to tensors")
    return tensors


def check_file(path: Path) -> None:
    """Refuse what is not a file with something in it.

    Raises
    ------
    UserError
        If the path does not exist, is a folder, is empty or may not be read.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file, for instance {path / 'best.pt'}")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes): the copy or download failed, do it again")


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is truncated or damaged: copy or download it again") from error
    # A flipped byte in a header makes zipfile stumble over anything (an unknown method, a wrong offset).
    except Exception as error:
        raise UserError(f"{path} is damaged ({error}): copy or download it again") from error
    if bad is not None:
        raise UserError(f"{path} is damaged (wrong checksum of {bad}): copy or download it again")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    check_file(path)
    try:
        return load_file(path)
    # safetensors raises its own SafetensorError, and others for what its header says wrongly.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} is damaged or not a safetensors file ({reason})") from error


def _named_tensors(content: Any) -> dict[str, torch.Tensor]:
    """The state dict in what a file held; the dict itself, or the one under a usual key."""
    if not isinstance(content, dict):
        return {}
    average = content.get("ema")
    if isinstance(average, dict) and _named_tensors(average.get("average")):
        # Where one of our checkpoints has averaged weights, those are the ones it was judged by.
        return _named_tensors(average["average"])
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    if tensors:
        return tensors
    for key in ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights"):
        tensors = _named_tensors(content.get(key))
        if tensors:
            return tensors
    return {}


# --- writing ------------------------------------------------------------------------------------------
def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write what `read_checkpoint` reads: to a temporary file, flushed to the disk, then put in place.

    A kill never leaves half a file. The content is made `plain` first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(plain(content), file)
        file.flush()
        os.fsync(file.fileno())


def plain(value: Any) -> Any:
    """`value` in plain Python types and tensors, which ``weights_only=True`` can load.

    Raises
    ------
    TypeError
        For a type that has no plain form.
    """
    if value is None or isinstance(value, bool | int | float | str | torch.Tensor):
        return value.detach() if isinstance(value, torch.Tensor) else _bare(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {_bare(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a checkpoint")


def _bare(value: Any) -> Any:
    # A str or float subclass (NumPy's, an enum's) would be refused by weights_only=True.
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return value
