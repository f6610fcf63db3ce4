"""Where and in which precision a run computes, by what the machine is good at, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unet_train.errors import UserError

ACCELERATORS = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "32", "bf16", "16")


@dataclass(frozen=True)
class Precision:
    """A chosen precision.

    Attributes
    ----------
    name : str
        ``32``, ``bf16`` or ``16``, as `trainer.precision` takes it.
    dtype : torch.dtype or None
        What autocast computes convolutions in; None: no autocast.
    scaler : bool
        Whether gradients need scaling (float16's range is small).
    reason : str
        Why, in a few words, for the log.
    """

    name: str
    dtype: torch.dtype | None
    scaler: bool
    reason: str

    def autocast(self, device_type: str) -> torch.autocast:
        """The autocast context for the forward pass; does nothing for ``32``."""
        return torch.autocast(device_type, dtype=self.dtype, enabled=self.dtype is not None)

    def grad_scaler(self, device_type: str) -> Any:
        """A gradient scaler, switched off where none is needed, so that the loop has one path."""
        return torch.amp.GradScaler(device_type, enabled=self.scaler)


def choose_accelerator(wanted: str = "auto") -> str:
    """Choose ``cuda``, ``mps`` or ``cpu``.

    Parameters
    ----------
    wanted : str
        ``auto`` takes CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    UserError
        If what is asked for does not exist here, with the reason if it is known.
    """
    if wanted not in ACCELERATORS:
        raise UserError(f"trainer.accelerator={wanted} is unknown; choose from {', '.join(ACCELERATORS)}")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "no usable GPU or driver" if built else f"torch {torch.__version__} is a build without CUDA"
        raise UserError(f"trainer.accelerator=cuda: {why}; use auto or cpu")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UserError("trainer.accelerator=mps: no Apple GPU that this torch can use; use auto or cpu")
    return wanted


def cpu_has_native_bf16() -> bool:
    """Whether the processor has bfloat16 multiplication (AMX or avx512_bf16) and torch's kernels for it.

    Without it bfloat16 on a CPU is emulated, slower than float32. What the processor has is asked of torch,
    which knows on Linux, macOS and Windows alike; a torch that cannot tell counts as no.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    return any(
        bool(getattr(torch.cpu, name, bool)())
        for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )


def cuda_has_native_bf16() -> bool:
    """Whether the current CUDA (or ROCm) device has bfloat16 itself, not only an emulation."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def choose_precision(accelerator: str, wanted: str | int = "auto") -> Precision:
    """Choose the precision of training and inference.

    ``auto``: CUDA → bf16 where the chip has it, else 16 with a gradient scaler; CPU → bf16 where the
    CPU supports bf16 natively, else 32; MPS → 32. bf16 may be asked for where it is only emulated (slow, but
    the same numbers).

    Parameters
    ----------
    accelerator : str
        ``cpu``, ``cuda`` or ``mps``.
    wanted : str
        ``auto``, ``32``, ``bf16`` or ``16``.

    Raises
    ------
    UserError
        For an unknown precision, 16 on a CPU (unusably slow) and anything but 32 on MPS.
    """
    wanted = str(wanted)
    if wanted not in PRECISIONS:
        raise UserError(f"trainer.precision={wanted} is unknown; choose from {', '.join(PRECISIONS)}")
    if accelerator not in ACCELERATORS[1:]:
        raise ValueError(f"accelerator must be one of {ACCELERATORS[1:]}, got {accelerator!r}")
    fp32 = Precision("32", None, False, "asked for")
    if wanted == "32":
        return fp32
    if accelerator == "mps":
        if wanted == "auto":
            return Precision("32", None, False, "the choice on MPS")
        raise UserError(f"trainer.precision={wanted} is not supported on MPS; use trainer.precision=32")
    if accelerator == "cpu":
        if wanted == "16":
            raise UserError(
                "trainer.precision=16 is unusably slow on a CPU; use auto, bf16 or 32, or a CUDA device"
            )
        native = cpu_has_native_bf16()
        if wanted == "auto" and not native:
            return Precision("32", None, False, "the processor has neither AMX nor avx512_bf16")
        reason = "the CPU supports bf16 natively" if native else "as asked; emulated here, so slow"
        return Precision("bf16", torch.bfloat16, False, reason)
    if wanted == "16":
        return Precision("16", torch.float16, True, "asked for")
    native = cuda_has_native_bf16()
    if wanted == "auto" and not native:
        return Precision("16", torch.float16, True, "the GPU has no bf16")
    reason = "the GPU has it" if native else "asked for; emulated here and slow"
    return Precision("bf16", torch.bfloat16, False, reason)
