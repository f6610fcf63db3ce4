"""Several processes: rank, world size, sums over ranks. One process is the case of world size 1."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class DistributedContext:
    """Which of a run's processes this one is, and what they tell each other."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """`tensor` summed over the processes; the same tensor on one."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite `tensors` by those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def gather(self, item: Any) -> list[Any]:
        """`item` of every process, in the order of ranks."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def broadcast(self, item: Any) -> Any:
        """`item` of rank 0."""
        if self.size == 1:
            return item
        box = [item]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return any(self.gather(flag)) if self.size > 1 else flag


def launched_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def lost_peer(error: RuntimeError) -> bool:
    """Whether an error says that another process can no longer be reached: it ended, and says itself why."""
    return launched_by_torchrun() and (
        isinstance(error, dist.DistError) or any(f"/{name}/" in str(error) for name in ("gloo", "nccl"))
    )


@contextmanager
def distributed_context(device: str) -> Iterator[DistributedContext]:
    """Join the processes that torchrun started (NCCL on CUDA, Gloo elsewhere), or be alone."""
    if not launched_by_torchrun():
        yield DistributedContext()
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    context = DistributedContext(rank, size, int(os.environ.get("LOCAL_RANK", "0")))
    if device.startswith("cuda"):
        torch.cuda.set_device(context.local_rank)
    if context.size > 1:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield context
    finally:
        if context.size > 1:
            # What still holds the group, in cycles, would take it along into the interpreter's end, which aborts.
            gc.collect()
            dist.destroy_process_group()
