"""The guard that stops training when the loss is no longer finite, naming the step and the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, final

import pytorch_lightning as pl
import torch
from torch import Tensor

from mnv2dense.types import Batch
from mnv2dense.utils.errors import UserError


class NonFiniteLossError(UserError, RuntimeError):
    """The loss became NaN or infinite; the message says at which step, in which images, and what to try."""


class _Seen(NamedTuple):
    """One step's loss on its way to the host."""

    epoch: int
    step: int
    names: tuple[str, ...]
    values: Tensor  # float32 [terms], on the host; to be read only once ``arrived`` has happened
    anywhere: Tensor  # bool [], on the host: is it non-finite on any process?
    image_ids: Tensor  # int64 [B], wherever the batch was
    arrived: torch.cuda.Event | None


@final
class NaNGuard(pl.Callback):
    """Stops the run when the loss is not finite, naming the images of that very batch.

    What ``training_step`` returns is looked at: ``loss``, and the scalar ``terms`` beside it. On CPU at once.
    On CUDA the values are copied in the background and looked at when they have arrived, a step or a few
    later, so the device never waits; no checkpoint is written before all of them were looked at. On several
    processes all stop, and the one whose loss it was names the images.
    """

    def __init__(self) -> None:
        self._seen: deque[_Seen] = deque()

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Send this step's loss to the host, and look at those that have arrived."""
        terms = dict(_scalars(outputs))
        if not terms:
            return
        values = torch.stack([value.detach().float() for value in terms.values()])
        # Not finite in any term: a sum may hide it (inf - inf), and the term is what helps to find the cause.
        bad = ~values.isfinite().all()
        distributed = trainer.world_size > 1
        if distributed:
            # Otherwise the others would wait for ever, in the next gradient exchange, for one that is gone.
            everyone = bad.float()
            torch.distributed.all_reduce(everyone, op=torch.distributed.ReduceOp.MAX)
            bad = everyone.bool()
        arrived = torch.cuda.Event() if values.is_cuda else None  # type: ignore[no-untyped-call]  # untyped in torch
        self._seen.append(
            _Seen(
                epoch=trainer.current_epoch,
                step=trainer.global_step,
                names=tuple(terms),
                values=_to_host(values),
                anywhere=_to_host(bad),
                image_ids=batch.infos.image_ids,
                arrived=arrived,
            )
        )
        if arrived is not None:
            arrived.record()
        while self._seen and self._may_look(distributed):
            self._look(trainer, self._seen.popleft())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at all that is left."""
        self._look_at_all(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not score a broken model."""
        self._look_at_all(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, object]
    ) -> None:
        """Never let a broken model take the place of a good checkpoint."""
        self._look_at_all(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """A run that starts again starts clean."""
        self._seen.clear()

    def _may_look(self, distributed: bool) -> bool:
        """Has the oldest arrived?"""
        arrived = self._seen[0].arrived
        if arrived is None:
            return True
        if distributed:  # all processes must look at the same moment: always one step behind
            return len(self._seen) > 1
        return bool(arrived.query())  # type: ignore[no-untyped-call]  # the same

    def _look_at_all(self, trainer: pl.Trainer) -> None:
        while self._seen:
            self._look(trainer, self._seen.popleft())

    def _look(self, trainer: pl.Trainer, seen: _Seen) -> None:
        if seen.arrived is not None:
            seen.arrived.synchronize()
        if not seen.anywhere.item():
            return
        where = f"the loss is not finite at step {seen.step} (epoch {seen.epoch}"
        if seen.values.isfinite().all():
            raise NonFiniteLossError(f"{where}) on another process, which names the images")
        values = zip(seen.names, seen.values.tolist(), strict=True)
        terms = ", ".join(f"{name}={value:.4g}" for name, value in values)
        images = ", ".join(_names(trainer, seen.image_ids.tolist()))
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else float("nan")
        raise NonFiniteLossError(
            f"{where}, process {trainer.global_rank}): {terms}. Images of that batch: {images}. Look at "
            "them and their labels first; if they are right, lower the learning rate "
            f"(now {rate:.3g}), warm up longer, clip gradients (trainer.gradient_clip_val), or try "
            f"trainer.precision=32-true (now {trainer.precision})"
        )


def _scalars(outputs: object) -> Iterator[tuple[str, Tensor]]:
    """The scalar tensors that ``training_step`` returned, by name."""
    if isinstance(outputs, Tensor):
        yield "loss", outputs
    elif isinstance(outputs, Mapping):
        for name, value in outputs.items():
            if isinstance(value, Tensor) and value.ndim == 0:
                yield str(name), value
            elif isinstance(value, Mapping):
                yield from _scalars(value)


def _to_host(tensor: Tensor) -> Tensor:
    """From CUDA without waiting, into page-locked memory; from elsewhere as always."""
    if not tensor.is_cuda:
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def _names(trainer: pl.Trainer, image_ids: list[int]) -> list[str]:
    train_paths = getattr(getattr(trainer, "datamodule", None), "train_paths", None)
    if train_paths is None:
        return [f"id {image_id}" for image_id in image_ids]
    paths: list[Path] = train_paths(image_ids)
    return [str(path) for path in paths]
