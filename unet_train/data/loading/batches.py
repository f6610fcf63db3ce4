"""Batches of samples: which samples a process takes in an epoch, how they are put together, and the loader."""

from __future__ import annotations

import math
import multiprocessing
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from unet_train.data.loading.training_set import Sample, TrainingSet
from unet_train.errors import UserError


@dataclass(frozen=True)
class Batch:
    """Samples put together.

    Attributes
    ----------
    image : Tensor
        N×C×H×W in channels_last memory, uint8 (to be divided by 255) or float32 in [0, 1].
    target : Tensor
        N×H×W uint8.
    weight : Tensor or None
        N×H×W float32.
    mean, std : Tensor or None
        N×C float32.
    keys : tuple of str
    """

    image: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor | None
    mean: torch.Tensor | None
    std: torch.Tensor | None
    keys: tuple[str, ...]

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        def maybe(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else change(tensor)

        return Batch(
            image=change(self.image),
            target=change(self.target),
            weight=maybe(self.weight),
            mean=maybe(self.mean),
            std=maybe(self.std),
            keys=self.keys,
        )

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory (called by torch's loader)."""
        return self._each(lambda tensor: tensor.pin_memory())


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) for one process of several.

    A global batch is `batch_size` × `world_size` consecutive indices; each process takes its own consecutive
    part of it. The number of samples is rounded down to whole global batches, but there is at least one, so
    all processes take the same number of steps and no batch is smaller than the others.

    Parameters
    ----------
    samples : int
        Per epoch.
    batch_size : int
        Per process.
    epoch : int
    start_step : int
        Batches to leave out at the beginning (a resume within an epoch).
    rank, world_size : int

    Raises
    ------
    ValueError
        A rank outside the world, or a size below one.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        epoch: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        if samples < 1 or batch_size < 1 or not 0 <= rank < world_size or start_step < 0:
            raise ValueError(
                f"{samples=}, {batch_size=}, {start_step=}, {rank=}, {world_size=}: sizes are at least 1, "
                "ranks below the world size"
            )
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.steps = max(1, samples // (batch_size * world_size))
        self.set_epoch(epoch, start_step)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """Go to another epoch; a loader that is kept (with its workers) draws from it when iterated next."""
        self.epoch = epoch
        self.start_step = start_step

    def __len__(self) -> int:
        """Batches still to come in this epoch."""
        return max(0, self.steps - self.start_step)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Lists of (epoch, index)."""
        for step in range(self.start_step, self.steps):
            first = (step * self.world_size + self.rank) * self.batch_size
            yield [(self.epoch, index) for index in range(first, first + self.batch_size)]


def collate(samples: Sequence[Sample]) -> Batch:
    """Put samples together.

    Raises
    ------
    UserError
        Samples of different size or number of channels, naming two of them.
    """
    first = samples[0]
    for sample in samples[1:]:
        if sample.image.shape != first.image.shape:
            raise UserError(
                f"{first.key} is {_size(first)} and {sample.key} {_size(sample)}: images of one batch "
                "need one size and number of channels; set augmentation.crop_size, or trainer.batch_size=1"
            )
    images = [sample.image for sample in samples]
    if len({image.dtype for image in images}) > 1:
        images = [i if i.dtype == np.float32 else (i / 255).astype(np.float32) for i in images]
    stacked = torch.from_numpy(np.stack(images))

    def gather(name: str) -> torch.Tensor | None:
        values = [getattr(sample, name) for sample in samples]
        return None if values[0] is None else torch.from_numpy(np.stack(values))

    target = gather("target")
    assert target is not None
    return Batch(
        image=stacked.permute(0, 3, 1, 2),  # N×H×W×C seen as N×C×H×W is torch's channels_last
        target=target,
        weight=gather("weight"),
        mean=gather("mean"),
        std=gather("std"),
        keys=tuple(sample.key for sample in samples),
    )


def _size(sample: Sample) -> str:
    return "×".join(map(str, sample.image.shape))


WORKER_SECONDS = 300
"""How long a worker lives on after SIGTERM while its run finishes a step and saves."""

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)

_WORKER_DIED = "DataLoader worker (pid"


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _leave_signals_to_the_run()


def _leave_signals_to_the_run() -> None:
    """What stops a run often goes to its whole process group (Ctrl-C, a cluster): the run saves, its workers stay.

    Once they are no longer needed the run ends them; SIGTERM, by which it does so in the worst case, still works, late.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_SECONDS))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Hold signals back, in this process and in those it starts, which let them in once they are ready for them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def read_batches(loader: DataLoader[Any]) -> Iterator[Batch]:
    """Batches of an epoch; what is wrong with a file is said alike by this process and by a worker.

    Raises
    ------
    UserError
        The worker's own, without the traceback that torch puts around its message.
    """
    try:
        with telling_of_workers(loader):
            with _signals_later():
                batches = iter(loader)
            yield from batches
    except UserError as error:
        raise UserError(str(error).rpartition(f"{UserError.__name__}: ")[2].strip()) from error


@contextmanager
def telling_of_workers(loader: DataLoader[Any]) -> Iterator[None]:
    """Say in one line that a worker process died, of what, and what it was reading.

    Torch raises its error wherever the main process happens to be, also in the middle of a step.

    Raises
    ------
    UserError
    """
    try:
        yield
    except RuntimeError as error:
        message = " ".join(str(error).split())
        if not message.startswith(_WORKER_DIED):
            raise
        # Torch has two sentences: "(pid 7) is killed by signal …" and "(pid(s) 7, 8) exited unexpectedly".
        named = re.search(r"\(pid(?:\(s\))? ([\d, ]+)\)", message)
        processes = [int(number) for number in named[1].split(",")] if named else []
        files = _being_read(loader, processes)
        at = f" while reading {', '.join(files)}" if files else ""
        of_what = _killed_by(loader) or message.rstrip(".")
        raise UserError(
            f"trainer.workers={loader.num_workers}: a worker died{at} ({of_what}); if memory ran out, say "
            "trainer.workers=0, or smaller crops"
        ) from error


def _killed_by(loader: DataLoader[Any]) -> str:
    """Signals that ended workers of this loader, which torch does not always say; empty where none did."""
    workers = getattr(getattr(loader, "_iterator", None), "_workers", [])
    codes = [worker.exitcode for worker in workers if worker.exitcode is not None]
    names = {signal.Signals(-code).name for code in codes if code < 0}
    return f"killed by {', '.join(sorted(names))}" if names else ""


def _being_read(loader: DataLoader[Any], processes: Sequence[int]) -> list[str]:
    """Images that these workers, or any where they are not known, were reading when they were last heard of."""
    data = loader.dataset
    if not isinstance(data, TrainingSet) or data.being_read is None:
        return []
    rows = list(zip(data.being_read[::2], data.being_read[1::2], strict=True))
    known = [number for process, number in rows if process in processes] or [number for _, number in rows]
    return [data.records[number].image for number in known if number >= 0]


def make_loader(
    dataset: TrainingSet,
    sampler: EpochSampler,
    workers: int,
    start_method: str | None = None,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """Loader of `Batch`; workers stay alive between epochs, so keep the loader and move on by `set_epoch`.

    Parameters
    ----------
    dataset : TrainingSet
    sampler : EpochSampler
    workers : int
        Processes that read and augment; 0: none, it is done between the steps.
    start_method : {'fork', 'spawn', 'forkserver'} or None
        None: the platform's own.
    pin_memory : bool
        For CUDA.
    """
    if workers < 0:
        raise ValueError(f"workers={workers} must not be negative")
    context = multiprocessing.get_context(start_method) if workers and start_method else None
    if workers:
        dataset.being_read = multiprocessing.get_context(start_method).RawArray("q", [-1] * 2 * workers)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_start_worker if workers else None,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        prefetch_factor=max(2, math.ceil(4 / workers)) if workers else None,
    )
