"""How far a segmentation model's probabilities can be believed: on some pixels of some images, looked at once more."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.data.collate import prepare
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.metrics.calibration import Calibration, calibration_of_classes
from mnv2dense.ops.postprocess import JointSelection, PixelSelection
from mnv2dense.protocols import Dataset, Model
from mnv2dense.types import IGNORE_INDEX, PixelLogits, Sample
from mnv2dense.utils.spread import evenly

_IMAGES, _PIXELS = 64, 1000
"""The score itself sees masks alone, so these images run twice; neighbours in an image tell little more."""


@torch.no_grad()
def pixel_calibration(model: Model, dataset: Dataset, head: str = "") -> Calibration | None:
    """Of 1,000 pixels each of 64 images evenly spread, in the model's input; None where a file tells no logits.

    Args:
        model: in eval mode.
        dataset: that it is scored on.
        head: which of several.
    """
    selection = model.selection.parts[head] if isinstance(model.selection, JointSelection) else model.selection
    assert isinstance(selection, PixelSelection)
    random = np.random.default_rng(0)
    tables, truths, images = [], [], []
    for index in evenly(len(dataset), _IMAGES):
        sample = _of_head(dataset[index], dataset, head)
        if sample is None:
            continue
        item = prepare(sample, model.size, model.resize)
        assert item.mask is not None
        rows, columns = (item.mask != IGNORE_INDEX).nonzero(as_tuple=True)
        if not len(rows):
            continue
        chosen = torch.from_numpy(random.choice(len(rows), min(_PIXELS, len(rows)), replace=False))
        rows, columns = rows[chosen], columns[chosen]
        try:
            decoded = model.decoded(item.image[None].to(model.device))
        except ValueError:  # the file decides inside
            return None
        logits = _at(decoded[head] if head else decoded, rows, columns, align_corners=selection.align_corners)
        tables.append(logits.softmax(dim=1).cpu().numpy())
        truths.append(item.mask[rows, columns].numpy().astype(np.int64))
        images.append(np.full(len(rows), index))
    if not tables:
        return None
    return calibration_of_classes(np.concatenate(tables), np.concatenate(truths), np.concatenate(images))


def _of_head(sample: Sample, dataset: Dataset, head: str) -> Sample | None:
    """With the mask of one head; None where it does not have it."""
    plain = sample._replace(boxes=None, labels=None, known=None, image_labels=None)
    if not isinstance(dataset, JointDataset):
        return plain
    if sample.mask is None or (sample.known is not None and head not in sample.known):
        return None
    channel = dataset.kinds[head].channel
    return plain._replace(mask=sample.mask if channel is None else np.ascontiguousarray(sample.mask[..., channel]))


def _at(decoded: PixelLogits, rows: Tensor, columns: Tensor, *, align_corners: bool) -> Tensor:
    """Logits at pixels of the input, as the selection reads them: [N, K]."""
    height, width = decoded.size
    if align_corners:
        y, x = 2 * rows / max(height - 1, 1) - 1, 2 * columns / max(width - 1, 1) - 1
    else:
        y, x = (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1
    grid = torch.stack([x, y], dim=-1).float().to(decoded.logits.device)[None, None]
    found = F.grid_sample(decoded.logits, grid, padding_mode="border", align_corners=align_corners)
    return found[0, :, 0].T
