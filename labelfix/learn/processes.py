"""Processes: one fine-tuning shared by those that torchrun started. The first leads, the others help.

The leader does the whole scan; at the stage that can be shared it hands every process the same job. What a job has
processes exchange goes through gloo on a processor and through NCCL between GPUs, one GPU a process.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from labelfix.errors import LabelfixError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

Job = Callable[[], None]
"""Does a process's part; can be pickled."""

PATIENCE = timedelta(days=30)
"""Helpers wait while the leader reads and decodes."""


@contextmanager
def crew() -> Iterator[bool]:
    """Join the processes that torchrun started; yields whether this one leads.

    A helper does its jobs before it gets False, and has nothing left to do. A leader that fails leaves its helpers
    to torchrun, which ends them.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield True
        return
    import torch
    from torch import distributed

    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    leads = rank() == 0
    try:
        if not leads:
            with suppress(UsageError):  # the leader has met the same, and says so
                while (job := _exchange(None)) is not None:
                    job()
        yield leads
        if leads:
            _exchange(None)
    except RuntimeError as error:
        if "by peer" not in str(error):  # gloo's words for a connection that is gone
            raise
        message = "another process of this scan has ended and says why, if it can; go on with --resume"
        raise LabelfixError(message) from error
    gc.collect()  # models that hold the group in circles: its threads must end with it, not with the interpreter
    distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 leads, or is alone."""
    from torch import distributed

    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """Return how many processes there are."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_initialized() else 1


def hand_out(job: Job) -> None:
    """Give helpers their part; the leader does its own afterwards."""
    if count() > 1:
        _exchange(job)


def wait() -> None:
    """Return when every process has come here."""
    if count() > 1:
        from torch import distributed

        distributed.barrier()


def total(value: torch.Tensor) -> torch.Tensor:
    """Return the sum over processes of a value."""
    if count() > 1:
        from torch import distributed

        distributed.all_reduce(value)
    return value


def average_buffers(model: nn.Module) -> None:
    """Give all processes the mean of what each has counted, such as BatchNorm's running statistics."""
    if count() > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(total(buffer) / count())


def _exchange(job: Job | None) -> Job | None:
    """Return the leader's job; None dismisses."""
    from torch import distributed

    box = [job]
    distributed.broadcast_object_list(box, src=0)
    return box[0]
