"""The LightningModule that trains, validates and saves a model with any head."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnv2dense.heads.joint import JointHead
from mnv2dense.losses import JointLoss
from mnv2dense.models.checkpoint import model_entry
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.pretrained.checkpoint_file import ENTRY
from mnv2dense.protocols import FollowsEpochs, Loss, Metric
from mnv2dense.training.batch_statistics import check_statistics, slow_statistics
from mnv2dense.training.check_parts import is_foreign
from mnv2dense.training.resuming import RUN, check_trained, run_entry, say_processes, span_anew, steps_in_all
from mnv2dense.types import Batch

log = logging.getLogger(__name__)

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


@final
class Task(pl.LightningModule):
    """Minimises ``loss`` of ``model`` over batches and scores it by ``metric``, whatever the head is.

    Logged: ``train/loss``, ``train/<term>`` and ``train/lr`` (the highest of the parameter groups), ``val/loss``, and
    ``val/<score>`` for every score of the metric.

    Args:
        model: what is trained.
        loss: (raw, batch) -> named terms; minimised is their sum. Parameters of its own learn as the head's do.
        metric: scores validation results; its data set is bound when validation starts.
        optimizer: parameter groups -> optimizer. Its learning rate is that of the whole effective batch (batch size
            x processes x accumulated batches) and is never rescaled behind the user's back.
        schedule: total_steps -> (step -> factor of the learning rate), see :mod:`mnv2dense.training.schedules`.
        backbone_lr_factor: the backbone's learning rate as a factor of the head's; below 1 for fine-tuning.
        channels_last: keep weights and activations in NHWC memory, which convolutions prefer on CPU and GPU.
        compile: put model and loss through torch.compile, as one graph.

    Raises:
        ValueError: the loss is for another kind of scores than the head gives.
    """

    def __init__(
        self,
        *,
        model: DenseModel,
        loss: Loss,
        metric: Metric,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        schedule: Callable[..., Callable[[int], float]] | None = None,
        backbone_lr_factor: float = 1.0,
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        _check_scores(model, loss)
        self.model = model.to(memory_format=torch.channels_last) if channels_last else model
        self.loss = loss
        self.metric = metric
        self.schedule = schedule
        self._optimizer = optimizer
        self._backbone_lr_factor = backbone_lr_factor
        self._resumed: dict[str, Any] | None = None  # the checkpoint, until it is restored
        self._terms: Callable[[Batch], Mapping[str, Tensor]] = self._model_and_loss
        if compile:
            self._terms = torch.compile(self._model_and_loss, fullgraph=True)

    def _model_and_loss(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.loss(self.model(batch.images), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One batch; also returns what the callbacks that watch the loss need."""
        terms = self._terms(batch)
        total = torch.stack(list(terms.values())).sum()
        logged = {"train/loss": total.detach()} | {f"train/{k}": v.detach() for k, v in terms.items()}
        rates = [group["lr"] for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        logged["train/lr"] = torch.tensor(max(rates))
        # Not reduced over processes: a mean over ranks on every step would cost a synchronisation for a curve.
        self.log_dict(logged, on_step=True, on_epoch=False, batch_size=len(batch.images))
        return {"loss": total, **{name: value.detach() for name, value in terms.items()}}

    def on_train_start(self) -> None:
        """Here, where callbacks have put the norms that shall not learn into evaluation mode."""
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        option = "data.train_sizes" if datamodule.train_sizes else "augment.size"
        check_statistics(self.model, datamodule.smallest_batch, datamodule.train_size, option=option)
        if slow := slow_statistics(self.model, self._batches_in_all()):
            log.info("%s", slow)
        self.on_train_epoch_start()  # which Lightning leaves out where a run goes on inside an epoch

    def on_train_epoch_start(self) -> None:
        """Tell the loss, if it wants to know."""
        if isinstance(self.loss, FollowsEpochs):
            self.loss.begin_epoch(self.current_epoch)

    def _batches_in_all(self) -> int:
        trainer = self.trainer
        batches = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        return 0 if trainer.fast_dev_run or math.isinf(batches) else int(batches)  # type: ignore[attr-defined]

    def on_validation_start(self) -> None:
        """Bind the metric to the truth it scores against, and forget older results."""
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.metric.bind(datamodule.val)
        self.metric.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Results into the metric; the loss beside them costs next to nothing."""
        raw = self.model(batch.images)
        terms = self.loss(raw, batch)
        total = torch.stack(list(terms.values())).sum()
        self.log("val/loss", total, on_epoch=True, batch_size=len(batch.images), sync_dist=True)
        size = (batch.images.shape[-2], batch.images.shape[-1])
        self.metric.update(self.model.results(raw, batch.infos, size), batch)

    def on_validation_epoch_end(self) -> None:
        """Score; every process gets the same numbers."""
        if self.trainer.sanity_checking:  # a handful of images: their score would mean nothing
            return
        scores = {f"val/{name}": float(value) for name, value in self.metric.compute().items()}
        self.log_dict(scores, sync_dist=True)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own union
        """Weight decay for convolution weights alone; the schedule spans exactly the steps of this run."""
        optimizer = self.new_optimizer()
        if self.schedule is None:
            return optimizer
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            factor = self.schedule(total_steps=int(self.trainer.estimated_stepping_batches))
        else:
            factor = self.schedule(total_steps=steps_in_all(resumed, self.trainer))
            span_anew(resumed, factor)
        scheduler = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def new_optimizer(self) -> Optimizer:
        """As the run begins with it.

        Raises:
            ValueError: nothing to train, or an option that the optimiser does not take.
        """
        groups = self._parameter_groups()
        try:
            optimizer = self._optimizer(groups)
        except ValueError as error:  # a learning rate below 0, say: torch knows what its optimisers take
            raise ValueError(f"optimizer: {error}.") from error
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1.0)
        return optimizer

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A fit that resumes needs its place in the schedule."""
        if self.trainer.state.fn == "fit":
            check_trained(checkpoint, self.new_optimizer())
            say_processes(checkpoint, self.trainer)
            self._resumed = checkpoint

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the model by itself, so that users of the file need neither Lightning nor this class.

        Callbacks came before: ``state_dict`` holds the averaged weights if there are any. The tensors are shared
        with it, and torch writes shared ones once.
        """
        weights = {
            name.removeprefix("model."): tensor
            for name, tensor in checkpoint["state_dict"].items()
            if name.startswith("model.")
        }
        checkpoint[ENTRY] = model_entry(self.model, weights)
        checkpoint[RUN] = run_entry(self.trainer)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Decayed and not decayed, of backbone and head.

        Norms, biases and single numbers are not decayed: it would only fight them. What a loss learns, as
        weights of its terms or centres of classes, comes after the head's own.
        """
        learning = [self.model, *([self.loss] if isinstance(self.loss, nn.Module) else [])]
        backbone = {id(p) for p in self.model.backbone.parameters()}
        plain = {
            id(p)
            for part in learning
            for module in part.modules()
            for name, p in module.named_parameters(recurse=False)
            if isinstance(module, _NORMS) or name == "bias" or p.ndim == 0
        }
        if not any(p.requires_grad for p in self.model.parameters()):
            raise ValueError("Every parameter is frozen; there is nothing to train. Freeze less.")
        # One that the loss shares with the model is there once.
        trained = list(dict.fromkeys(p for part in learning for p in part.parameters() if p.requires_grad))
        groups: list[dict[str, Any]] = []
        for in_backbone in (True, False):
            for decayed in (True, False):
                chosen = [p for p in trained if (id(p) in backbone) == in_backbone and (id(p) not in plain) == decayed]
                if chosen:
                    group: dict[str, Any] = {"params": chosen}
                    if not decayed:
                        group["weight_decay"] = 0.0
                    if in_backbone and self._backbone_lr_factor != 1.0:
                        group["lr_factor"] = self._backbone_lr_factor
                    groups.append(group)
        return groups


def _check_scores(model: DenseModel, loss: Loss) -> None:
    """A background column more or less would train without a word, every class one column off."""
    if isinstance(model.head, JointHead) and isinstance(loss, JointLoss):
        for name in model.head.parts.keys() & loss.parts.keys():
            _check_pair(model.head.parts[name], loss.parts[name], of=f"parts.{name}.")
        return
    _check_pair(model.head, loss)


def _check_pair(head: object, loss: object, *, of: str = "") -> None:
    """Whether a head and its loss speak of the same kind of scores; ``of`` is where both stand among several."""
    # One mask head may be trained otherwise than it decides: whoever builds both says so; of several it is a slip.
    for option in ("class_offset", "align_corners") if of else ("class_offset",):
        own, its = getattr(head, option, None), getattr(loss, option, None)
        if own is not None and its is not None and own != its:
            raise ValueError(
                f"head.{of}{option}={own}, and the loss has {option}={its}: they count classes or pixels otherwise. "
                f"Set loss.{of}{option}={own}."
            )
    given, wanted = getattr(head, "scores", None), getattr(loss, "scores", None)
    if given is None and wanted is not None and is_foreign(head) and getattr(head, "task", None) == "detection":
        raise ValueError(
            f"{type(loss).__name__} is for {wanted} scores, and {type(head).__name__} has no `scores` that says of "
            f'what kind its own are. Give its class scores = "{wanted}" where they are, or choose a loss that fits it.'
        )
    if given is not None and wanted is not None and given != wanted:
        is_option = {given, wanted} <= _OPTIONS and not is_foreign(head)
        option = f"head.{of}scores"
        has = f"{type(head).__name__} gives {given} scores"
        if given in _OPTIONS and not is_foreign(head):
            has = f"{option}={given}"
        ways = [f"{option}={wanted}" if is_option else _HEADS.get(wanted, ""), _LOSSES.get(given, "")]
        if of:  # as groups of configs are put in a place
            place = of.removesuffix(".")
            ways = [re.sub(r"\b(head|loss)=", rf"\1@\1.{place}=", way).replace("head.scores", option) for way in ways]
        known = [way for way in ways if way]
        # What stands for a kind of scores is of this project; a head or a loss of one's own may want another partner.
        own = ["a loss that fits the head"] if is_foreign(head) or is_foreign(loss) or not known else []
        raise ValueError(
            f"{has}, but {type(loss).__name__} is for {wanted} scores. Choose {', or '.join([*known, *own])}."
        )


# Kinds of scores between which an option of one head chooses, the heads and the losses of every kind.
_OPTIONS = {"softmax", "sigmoid"}
_HEADS = {"softmax": "head=ssdlite", "sigmoid": "head=ssdlite head.scores=sigmoid", "quality": "head=points"}
_LOSSES = {"softmax": "loss=multibox", "sigmoid": "loss=focal", "quality": "loss=task_aligned"}
