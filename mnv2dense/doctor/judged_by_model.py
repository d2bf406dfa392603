"""What a trained model says of images that it has not learnt from, in place of heads for each fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.data.collate import collate, prepare
from mnv2dense.doctor.together import Together
from mnv2dense.metrics.box_columns import FoundBoxes
from mnv2dense.ops.postprocess import BoxSelection
from mnv2dense.protocols import Model
from mnv2dense.types import Infos, Sample


def found_by(
    model: Model, data: Together, look: Callable[[int, Sample], None], counted: Callable[[int], None]
) -> FoundBoxes:
    """What a detector finds, also what it would not show."""
    tables: list[npt.NDArray[np.float32]] = []
    selection = model.selection
    if isinstance(selection, BoxSelection):
        selection = BoxSelection(selection.class_names, 0.01, selection.nms_threshold, selection.candidates, 100)
    for images, infos in batches(model, data, look, counted):
        results: list[Any] = selection(model.decoded(images), infos)
        for result in results:
            found = result.to("cpu")
            tables.append(torch.cat([found.boxes, found.scores[:, None], found.labels[:, None]], dim=1).numpy())
    return FoundBoxes.of_tables(tables, range(len(tables)))


def pixels_by(
    model: Model,
    data: Together,
    grid: tuple[int, ...],
    look: Callable[[int, Sample], None],
    counted: Callable[[int], None],
) -> tuple[Tensor, Infos]:
    """Probabilities [P, K, h, w] of a segmentation model on a grid, and where the images lie in its input."""
    said, infos = [], []
    for images, of in batches(model, data, look, counted):
        logits = model.decoded(images).logits
        said.append(F.interpolate(logits, grid, mode="bilinear", antialias=True).softmax(1).half().cpu())
        infos.append(of)
    joined = (torch.cat(parts).cpu() for parts in zip(*infos, strict=True))
    return torch.cat(said), Infos(*joined)


def batches(
    model: Model, data: Together, look: Callable[[int, Sample], None], counted: Callable[[int], None], size: int = 16
) -> Iterator[tuple[Tensor, Infos]]:
    """Images uint8 [B, 3, H, W] of a model's input, on its device, with the way back."""
    for start in range(0, len(data), size):
        items = []
        for place in range(start, min(start + size, len(data))):
            sample = data[place]
            look(place, sample)
            items.append(prepare(sample._replace(boxes=None, labels=None, mask=None), model.size, model.resize))
        batch = collate(items, max_boxes=1)
        yield batch.images.to(model.device), Infos(*(part.to(model.device) for part in batch.infos))
        counted(len(items))
