"""Files of tensors: read though they may be damaged or ill-intended, written whole or not at all."""

import json
import os
import pickle
import pickletools
import shlex
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from unet_train.atomic import replacing
from unet_train.errors import UserError

PICKLE_START = b"\x80"
ZIP_START = b"PK\x03\x04"

MOST_NESTED = 100
"""Containers within containers. A checkpoint has about ten; from some ten thousand on Python itself crashes."""

OLD_PICKLES = 5
"""Pickles at the start of a file of before torch 1.6: two numbers, the machine, the content, the storages' keys."""

GLOBALS = {
    *("collections.OrderedDict", "torch.Size", "torch.device", "torch.storage.UntypedStorage"),
    *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"),
    *(f"torch.{name}" for name in vars(torch) if isinstance(getattr(torch, name), torch.dtype)),
    *(f"torch.{name}" for name in vars(torch) if name.endswith("Storage")),
    *("collections.Counter", "builtins.set", "_codecs.encode"),
}
"""What a pickle may name: plain tensors, and of the plain types those that are no literals. ``weights_only=True`` knows
more (sparse, quantised, nested tensors, which can claim a size without holding it); no network here needs them."""


def read_checkpoint(path: str | Path) -> Any:
    """Read what ``torch.save`` wrote, onto the CPU. Never runs code from the file.

    Checkpoints of today's format are zip archives whose members carry a checksum: it is verified first,
    because torch itself loads a file with a flipped byte without a word. The format of before torch 1.6
    (many published weights) is read too; it has no checksum.

    What a file claims is held against its own size before memory is given: zip members that are larger
    unpacked than the file, tensors of more numbers than it has bytes, lists that stand within each other.

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
        else than a checkpoint, claims more than it holds, or holds Python objects that could run code.
    """
    path = Path(path)
    check_file(path)
    with path.open("rb") as file:
        start = file.read(4)
        if start != ZIP_START and start[:1] != PICKLE_START:
            raise UserError(f"{path} is not a checkpoint: it was not written by torch.save")
        file.seek(0)
        if start == ZIP_START:
            _check_zip(path)
        else:
            for _ in range(OLD_PICKLES):
                _check_pickle(path, file)
    try:
        with warnings.catch_warnings():  # torch's about old pickles, which the message below says better
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Checksums having been right, a zip's pickle can only hold what weights_only refuses.
        if start == ZIP_START or "global" in str(error).lower():
            raise _refused(path) from error
        raise UserError(f"{path} is damaged: copy or download it again") from error
    # torch.load has no error of its own: RuntimeError, EOFError, KeyError, … by what it stumbles over.
    except Exception as error:
        raise UserError(f"{path} is damaged or truncated: copy or download it again") from error
    try:
        return _Own(path.stat().st_size).copy(content)
    except ValueError as error:
        raise UserError(f"{path} is refused: {error}") from None


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
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
            if claimed > size:  # torch.save compresses nothing
                raise UserError(f"{path} is refused: it claims to hold {claimed} bytes in a file of {size}")
            bad = archive.testzip()
            for member in archive.infolist() if bad is None else []:
                if member.filename.lower().endswith(".pkl"):
                    with archive.open(member) as file:
                        _check_pickle(path, file)
    except UserError:
        raise
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is truncated or damaged: copy or download it again") from error
    # A flipped byte in a header makes zipfile stumble over anything (an unknown method, a wrong offset).
    except Exception as error:
        raise UserError(f"{path} is damaged ({error}): copy or download it again") from error
    if bad is not None:
        raise UserError(f"{path} is damaged (wrong checksum of {bad}): copy or download it again")


def _check_pickle(path: Path, file: IO[bytes]) -> None:
    """Read the next pickle's operations without carrying them out: what it names, and how deep it stacks.

    Raises
    ------
    UserError
        For a name that is not one of `GLOBALS`, and for containers nested so deep that hashing one would
        exhaust the interpreter's stack, which no exception tells of.
    """
    depths: list[int | None] = []  # of what lies on the unpickler's stack; None is a mark
    memo: dict[Any, int] = {}
    try:
        for code, argument, _ in pickletools.genops(file):
            name = code.name
            if name == "GLOBAL" and str(argument).replace(" ", ".", 1) not in _OLD_NAMES | GLOBALS:
                raise _refused(path)
            if name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
                raise _refused(path)
            if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else argument] = depths[-1] or 0
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                depths.append(memo[argument])
            else:
                depth = _taken(depths, code.stack_before)
                if depth > MOST_NESTED:
                    raise UserError(f"{path} is refused: its lists are nested more than {MOST_NESTED} deep")
                for made in code.stack_after:
                    depths.append(None if made is pickletools.markobject else depth)
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} is damaged or truncated: copy or download it again") from error


_OLD_NAMES = {name.replace("builtins.", "__builtin__.") for name in GLOBALS}
"""As Python 2 and its pickle protocol call them."""


def _taken(depths: list[int | None], before: list[Any]) -> int:
    """Take off the stack what an operation uses up; the depth of what it makes of it."""
    deepest = -1
    for place, kind in reversed(list(enumerate(before))):
        if kind is pickletools.stackslice:
            while (taken := depths.pop()) is not None:
                deepest = max(deepest, taken)
        elif kind is not pickletools.markobject:  # taken together with the slice
            filled = place == 0 and kind in (pickletools.pydict, pickletools.pylist)
            deepest = max(deepest, (depths.pop() or 0) - filled)  # is the same one as before
    return deepest + 1


def _refused(path: Path) -> UserError:
    return UserError(
        f"{path} is refused: it holds Python objects besides tensors and plain values, which could run code when read; "
        f"if you trust it, save its state dict alone: {_saving_line(path)}"
    )


class _Own:
    """Copies of what was unpickled in containers of our own, of a size that the file's own bounds.

    An unpickled dict may have its methods overwritten, and a list may stand in itself.
    """

    def __init__(self, size: int):
        self.size = self.left = size

    def copy(self, value: Any, depth: int = 0) -> Any:
        """The value as dicts, lists, tuples, scalars and tensors.

        Raises
        ------
        ValueError
            What it claims beyond the file's size, or lists nested too deep.
        """
        self.left -= 1  # each value takes a byte at least, unless it is written once and meant many times
        if self.left < 0:
            raise ValueError(f"its lists hold each other over and over, more than its {self.size} bytes say")
        if depth > MOST_NESTED:
            raise ValueError(f"its lists are nested more than {MOST_NESTED} deep")
        if isinstance(value, torch.Tensor):
            if value.numel() * value.element_size() > self.size:
                shape = "×".join(map(str, value.shape))
                raise ValueError(f"it claims a tensor of {shape}, more than its {self.size} bytes hold")
            return value.detach()
        if isinstance(value, dict):
            return {key: self.copy(item, depth + 1) for key, item in dict.items(value)}
        if type(value) in (list, tuple):
            return type(value)(self.copy(item, depth + 1) for item in value)
        return value


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

    Raises
    ------
    OSError
        A full disk, a folder that may not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(plain(content), file)
        except RuntimeError as error:
            # Torch closes its zip file in any case, and complains of that over the reason.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
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
