"""How a segmentation model is shown an image once it is trained: whole, in windows, at several scales, mirrored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.ops.cells import pixels_at
from mnv2dense.ops.resize import PAD_VALUE, Fit, infos, resize
from mnv2dense.ops.windows import window_starts
from mnv2dense.protocols import Model
from mnv2dense.types import PixelLogits, Segmentation
from mnv2dense.utils.numbers import is_number

View = Literal["model", "letterbox", "whole", "windows"]
"""``model`` resizes as the model was trained to see images; ``letterbox`` into the same input, without distortion;
``whole`` leaves an image its own pixels, in grey up to the model's size at least, as DeepLab's authors score;
``windows`` does so too, and runs the model on overlapping parts of its own size."""

PAPER_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Of DeepLabv3 (Chen et al. 2017, section 4.1), and of MobileNetV2's table 7, there with ``flip``."""

# Lower is noise; higher is a slip that would fill the memory.
LOWEST_SCALE, HIGHEST_SCALE = 0.1, 4.0
_LARGEST_OVERLAP = 0.9

# Windows in a batch: few enough for any memory that has held the model's training.
_WINDOWS_AT_ONCE = 4


@final
@dataclass(frozen=True, kw_only=True)
class TTA:
    """How a segmentation model sees an image; the defaults are how it was trained to.

    Attributes:
        view: see :data:`View`.
        scales: factors of the image, 0.1 to 4; what the model says of each is averaged, as probabilities.
        flip: average with what it says of the mirrored image.
        overlap: share of a window that the next one sees too, 0 to 0.9; of ``windows`` alone.

    Raises:
        ValueError: an option outside these values.
    """

    view: View = "model"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.view not in get_args(View):
            raise ValueError(f"test_time.view={self.view!r}: choose one of {', '.join(get_args(View))}.")
        given: object = self.scales
        if not isinstance(given, list | tuple) or not given:
            raise ValueError(f"test_time.scales={given!r} must be a list of factors, as in [0.5,1.0,1.5].")
        for scale in given:
            if not is_number(scale) or not LOWEST_SCALE <= scale <= HIGHEST_SCALE:
                raise ValueError(
                    f"test_time.scales has {scale!r}: factors are {LOWEST_SCALE} to {HIGHEST_SCALE}; the paper's are "
                    f"{', '.join(map(str, PAPER_SCALES))}."
                )
        if not isinstance(self.flip, bool):
            raise ValueError(f"test_time.flip={self.flip!r} must be true or false.")
        if not is_number(self.overlap) or not 0 <= self.overlap <= _LARGEST_OVERLAP:
            raise ValueError(
                f"test_time.overlap={self.overlap!r} must be 0 to {_LARGEST_OVERLAP}, a share of a window; 0.25 is a "
                "good start."
            )
        object.__setattr__(self, "scales", tuple(map(float, given)))  # a config brings a list

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> TTA | None:
        """What a config's plain options ask for; None where that is what models do anyway."""
        viewing = cls(**(options or {}))
        return None if viewing == cls() else viewing


def segment(model: Model, image: Tensor, viewing: TTA) -> Segmentation:
    """The class of every pixel of one image.

    Several runs are averaged on the logits' grid of the largest scale, never on the image's own: a 12-megapixel
    image of 21 classes then takes 4 MB at stride 16, not 1 GB. ``windows`` bounds the network's own memory too;
    ``whole`` takes about 0.25 GB a megapixel at output stride 16, times the square of the largest scale.

    Args:
        model: with a segmentation head, in eval mode.
        image: uint8 [3, H, W], RGB, on the CPU; of any size.
        viewing: how to look at it.

    Returns:
        Labels uint8 [H, W], on the model's device.

    Raises:
        ValueError: the model is for another task, or a file, whose input is of one size.
        RuntimeError: it is in training mode.
    """
    network = segmentation_network(model, "test_time")
    if network.training:
        raise RuntimeError("segment() needs the model in eval mode: call model.eval() first.")
    with torch.no_grad():
        runs = _runs(network, image, viewing)
        frame, logits = next(runs)
        if len(viewing.scales) > 1 or viewing.flip:
            total = logits.softmax(dim=0)
            for other, found in runs:
                total += _carried(found, other, frame, logits.shape[1:], network).softmax(dim=0)
            # As logits again, which is what models learn to have interpolated between cells.
            logits = total.clamp_min(torch.finfo(total.dtype).tiny).log()
        back = infos([0], [(image.shape[1], image.shape[2])], [frame.fit])
        found_masks: list[Segmentation] = network.select(PixelLogits(logits[None], frame.size), back)
    return found_masks[0]


def with_output_stride(model: Model, output_stride: int) -> DenseModel:
    """The same weights on a finer or coarser deep map: DeepLab is trained at 16, and tested at 8 for better masks.

    Convolutions past the output stride are dilated by what they no longer step, and the head's dilated branches follow.

    Args:
        model: with a segmentation head.
        output_stride: 8, 16 or 32.

    Returns:
        A new model in eval mode on the same device; tensors are copied.

    Raises:
        ValueError: the model is for another task or a file, its backbone has no such option or not that value.
    """
    network = segmentation_network(model, "output_stride")
    backbone = network.config["backbone"]
    if "output_stride" not in backbone:
        raise ValueError(
            f"output_stride={output_stride}: {backbone['_target_']} has a fixed one; leave output_stride out."
        )
    config = network.config | {"backbone": backbone | {"output_stride": output_stride}}
    # Their classes are loaded already: whoever loaded them trusts these packages.
    packages = [config[part]["_target_"].partition(".")[0] for part in ("backbone", "head")]
    changed = build_model(config, packages=packages)
    changed.load_state_dict(network.state_dict())
    return changed.to(network.device).eval()


def segmentation_network(model: Model, option: str) -> DenseModel:
    """The network behind a model for an option of segmentation that runs or builds it otherwise.

    Raises:
        ValueError: the model is for another task, or a file, in which no network can be reached any more.
    """
    if not isinstance(model, DenseModel):
        raise ValueError(f"{option} changes the model, and an exported file is fixed: give the checkpoint instead.")
    if model.task != "segmentation":
        raise ValueError(f"{option} is for segmentation, and this model is for {model.task}; leave {option} out.")
    return model


class _Side(NamedTuple):
    """One axis of a frame: its pixels, and where the image lies on it, as in :class:`Fit`."""

    pixels: int
    scale: float
    offset: float


class _Frame(NamedTuple):
    """An image as it is shown: uint8 [3, H, W], and where it lies therein."""

    canvas: Tensor
    fit: Fit

    @property
    def size(self) -> tuple[int, int]:
        return int(self.canvas.shape[1]), int(self.canvas.shape[2])

    @property
    def sides(self) -> tuple[_Side, _Side]:
        """Vertical, horizontal."""
        (height, width), fit = self.size, self.fit
        return _Side(height, fit.scale_y, fit.offset_y), _Side(width, fit.scale_x, fit.offset_x)


def _runs(model: DenseModel, image: Tensor, viewing: TTA) -> Iterator[tuple[_Frame, Tensor]]:
    """Every frame with what the model says of it, [K, h, w], mirrored back; the largest scale first."""
    for scale in sorted(viewing.scales, reverse=True):
        frame = _frame(model, image, viewing.view, scale)
        canvas = frame.canvas.to(model.device)
        yield frame, _logits(model, canvas, viewing)
        if viewing.flip:
            yield frame, _logits(model, canvas.flip(-1), viewing).flip(-1)


def _frame(model: DenseModel, image: Tensor, view: View, scale: float) -> _Frame:
    stride = _strides(model)[1]
    if view in ("model", "letterbox"):
        height, width = (_alike(own * scale, own, stride, round) for own in model.size)
        return _Frame(*resize(image, (height, width), "letterbox" if view == "letterbox" else model.resize))
    inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[2] * scale))
    resized, fit = resize(image, inner, "squash")
    height, width = (
        _alike(max(side, _alike(own * scale, own, stride, round)), own, stride, math.ceil)
        for side, own in zip(inner, model.size, strict=True)
    )
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    edges = (left, width - inner[1] - left, top, height - inner[0] - top)
    return _Frame(F.pad(resized, edges, value=PAD_VALUE), fit._replace(offset_x=left, offset_y=top))


def _alike(side: float, own: int, stride: int, whole: Any) -> int:  # noqa: ANN401 - round or math.ceil
    """The side near ``side`` that leaves the same rest by the stride as the model's own.

    What a network's cells see depends on that rest, as its paddings do: 513 at stride 16 is as good as 257 or 641,
    where 512 would move its answers by half a cell.
    """
    rest = own % stride
    return int(rest + stride * max(1, whole((side - rest) / stride)))


def _strides(model: DenseModel) -> tuple[int, int]:
    """Of the logits, and of the deepest map, which the sides of inputs go by."""
    strides = [info.stride for info in model.backbone.feature_info.values()]  # type: ignore[operator]
    return strides[0], max(strides)


def _logits(model: DenseModel, canvas: Tensor, viewing: TTA) -> Tensor:
    """Logits [K, h, w] of uint8 [3, H, W]."""
    if viewing.view == "windows":
        return _blended(model, canvas, viewing.overlap)
    return _logits_of_batch(model, canvas[None])[0]


def _logits_of_batch(model: DenseModel, images: Tensor) -> Tensor:
    decoded: PixelLogits = model.decode(model(images), (images.shape[-2], images.shape[-1]))
    return decoded.logits


def _blended(model: DenseModel, canvas: Tensor, overlap: float) -> Tensor:
    """Logits of windows averaged where they overlap, each counting less towards its edges, where it sees less."""
    step, deepest = _strides(model)
    sides = [min(own, side) for own, side in zip(model.size, canvas.shape[1:], strict=True)]
    rows, columns = (
        window_starts(side, window, max(1, int(window * (1 - overlap)) // deepest) * deepest, step=deepest)
        for side, window in zip(canvas.shape[1:], sides, strict=True)
    )
    corners = [(top, left) for top in rows for left in columns]
    # Windows start on the deepest map's cells, so theirs are cells of the whole canvas.
    height, width = (math.ceil(side / step) for side in canvas.shape[1:])
    total = canvas.new_zeros((len(model.class_names), height, width), dtype=torch.float32)
    weight = total.new_zeros((height, width))
    for first in range(0, len(corners), _WINDOWS_AT_ONCE):
        some = corners[first : first + _WINDOWS_AT_ONCE]
        windows = torch.stack([canvas[:, top : top + sides[0], left : left + sides[1]] for top, left in some])
        for (top, left), logits in zip(some, _logits_of_batch(model, windows), strict=True):
            ramps = [1 - (torch.arange(1, 2 * n, 2, device=canvas.device) / n - 1).abs() for n in logits.shape[1:]]
            here = torch.outer(*ramps)
            place = (
                slice(top // step, top // step + logits.shape[1]),
                slice(left // step, left // step + logits.shape[2]),
            )
            total[:, *place] += logits * here
            weight[place] += here
    return total / weight


def _carried(logits: Tensor, of: _Frame, onto: _Frame, cells: torch.Size, model: DenseModel) -> Tensor:
    """Logits of one frame read at the cells of another, [K, h, w], bilinear; both frames show the same image."""
    if logits.shape[1:] == cells and of.sides == onto.sides:
        return logits
    corners = bool(getattr(model.head, "align_corners", False))
    at = [_positions(*places, corners) for places in zip(cells, onto.sides, of.sides, strict=True)]
    grid = torch.stack(torch.meshgrid(at, indexing="ij")[::-1], dim=-1)[None].to(logits)
    return F.grid_sample(logits[None], grid, mode="bilinear", padding_mode="border", align_corners=corners)[0]


def _positions(cells: int, onto: _Side, of: _Side, corners: bool) -> Tensor:
    """Where the cells of one frame lie in another: -1 to 1 as ``grid_sample`` counts, [cells]."""
    number = torch.arange(cells, dtype=torch.float64)
    pixel = pixels_at(number, length=onto.pixels, cells=cells, align_corners=corners)
    there = (pixel - onto.offset) / onto.scale * of.scale + of.offset
    share = (there - 0.5) / max(1, of.pixels - 1) if corners else there / of.pixels
    return share * 2 - 1
