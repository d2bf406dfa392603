"""Images that an export needs: those int8 takes its ranges from, and those a file is compared with its model on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.data.shapes.drawing import draw_image
from mnv2dense.io.reading import list_images, read_image
from mnv2dense.ops.resize import ResizeMode, resize
from mnv2dense.protocols import Dataset
from mnv2dense.utils.spread import evenly

Pixels = npt.NDArray[np.uint8]
"""RGB, [H, W, 3]."""


def images_of_dataset(dataset: Dataset, count: int) -> Iterator[Pixels]:
    """``count`` images evenly spread over a data set, or all of a smaller one."""
    for index in evenly(len(dataset), count):
        yield dataset[index].image


def images_of_folder(folder: str | Path, count: int) -> Iterator[Pixels]:
    """``count`` images evenly spread over a folder by name, or all of a smaller one; its subfolders count too.

    Raises:
        OSError: no such folder.
        ValueError: it holds no images, or a broken one.
    """
    paths = list_images(folder, recursive=True)
    if not paths:
        raise ValueError(f"{folder}: the folder holds no images.")
    for index in evenly(len(paths), count):
        yield read_image(paths[index])


def drawn_images(count: int, *, seed: int = 0) -> Iterator[Pixels]:
    """Images of coloured shapes, for want of real ones: enough to compare numbers, not to judge a model by."""
    for number in range(count):
        yield draw_image(np.random.default_rng([seed, number]), size=240)[0]


def model_inputs(images: Iterable[Pixels], size: tuple[int, int], mode: ResizeMode) -> list[Tensor]:
    """Each image as a model gets it: uint8 [1, 3, H, W] of ``size`` (height, width), resized as in training."""
    return [resize(torch.from_numpy(image).permute(2, 0, 1), size, mode)[0][None] for image in images]
