"""The smallest model and data that still take every path, and the commands run in this process."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnv2dense.backbones import MobileNetV2
from mnv2dense.heads import SSDLiteHead
from mnv2dense.models.architectures import ssdlite320_mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.types import Batch, Infos

SIZE = (96, 96)

# Seconds on one core: 16 images, 64 pixels, the narrowest of the paper's models.
TINY = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "data.train_images=16",
    "data.val_images=8",
    "data.batch_size=8",
    "data.num_workers=0",
    "backbone.width_mult=0.35",
    "model.size=[64,64]",
)


# The narrowest of MobileNetV2's paper; of MobileNetV1 it makes odd numbers of channels.
WIDTH = 0.35


def tiny_model(
    num_classes: int = 3, *, seed: int = 0, backbone: type[nn.Module] = MobileNetV2, **options: object
) -> DenseModel:
    """A detector in eval mode, with batch norms that have seen something: fresh ones would hide a wrong fold."""
    torch.manual_seed(seed)
    if backbone is MobileNetV2:
        model = ssdlite320_mobilenet_v2(num_classes, **{"width_mult": WIDTH, "size": SIZE, **options})
    else:
        model = on_backbone(backbone, SSDLiteHead, ("stride16_expanded", "last_conv"), num_classes, **options)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def on_backbone(
    backbone: type[nn.Module],
    head: Callable[..., nn.Module],
    features: Sequence[str],
    num_classes: int = 3,
    *,
    size: tuple[int, int] = SIZE,
    resize: ResizeMode = "squash",
    **options: object,
) -> DenseModel:
    """A head on the narrowest backbone of a kind; ``options`` are the head's."""
    extractor = backbone(width_mult=WIDTH, features=features)
    names = [str(label) for label in range(num_classes)]
    built = head(extractor.feature_info, size=size, class_names=names, **options)
    return DenseModel(extractor, built, size=size, resize=resize)


def random_images(count: int = 2, size: tuple[int, int] = SIZE, *, seed: int = 0) -> Tensor:
    """uint8 [count, 3, H, W] of noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def batch_of(images: Tensor, boxes: list[list[list[float]]], labels: list[list[int]]) -> Batch:
    """The same number of boxes for each image."""
    count, _, height, width = images.shape
    infos = Infos(
        torch.arange(count),
        torch.tensor([[height, width]]).repeat(count, 1),
        torch.ones(count, 2),
        torch.zeros(count, 2),
    )
    return Batch(images, torch.tensor(boxes), torch.tensor(labels), None, infos)


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def command(name: str, *arguments: str | Path) -> Outcome:
    """``tools/<name>.py`` with these arguments, without the seconds that a new process takes to import torch."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    before = sys.argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _log_handlers_kept():
        sys.argv = [f"{name}.py", *map(str, arguments)]
        try:
            getattr(importlib.import_module(f"mnv2dense.cli.{name}"), name)()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.argv = before
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _log_handlers_kept() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
