"""Ways to bring a picture to a model's input: the right one, and those that apps get wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.io.reading import decode_image
from mnv2dense.ops.resize import RESIZE_MODES, ResizeMode, resize
from mnv2dense.runtimes.exam import Exam
from mnv2dense.runtimes.exam_causes import CAUSES
from mnv2dense.runtimes.exported_model import ExportedModel

Pixels = npt.NDArray[np.uint8]

_MODE_NAMES: dict[ResizeMode, str] = {"squash": "squashed", "letterbox": "letterboxed", "crop": "cropped"}

# Levels of 255, on average: other code for the same resize rounds otherwise, and a JPEG's decoder may differ as much.
_ROOM = 1.5

# Pixels of a stranger's picture; ours have 160 x 160 at most.
_LARGEST = 2**20

_PNG = b"\x89PNG\r\n\x1a\n"


def rightly(pixels: Pixels, size: tuple[int, int], mode: ResizeMode) -> Tensor:
    """uint8 [H, W, 3] -> uint8 [1, 3, H, W] of ``size``."""
    return resize(_channels_first(pixels), size, mode)[0][None]


def wrongly(size: tuple[int, int], mode: ResizeMode) -> dict[str, Callable[[Pixels], Tensor]]:
    """Fault -> how it prepares a picture; the names stand in files.

    Args:
        size: (height, width) of the input, pixels.
        mode: of the model.
    """
    made: dict[str, Callable[[Pixels], Tensor]] = {
        "channels swapped": lambda pixels: rightly(pixels, size, mode).flip(1),
        "channels last": lambda pixels: _as_channels_last(rightly(pixels, size, mode)),
        "pixels of 0..1": lambda pixels: (rightly(pixels, size, mode) / 255).round().to(torch.uint8),
    }
    for other in RESIZE_MODES:
        if other != mode:
            made[_MODE_NAMES[other]] = partial(rightly, size=size, mode=other)
    if mode == "squash":  # these two are of an image that fills the input
        made["nearest pixels"] = lambda pixels: _squashed(pixels, size, mode="nearest")
        made["corners aligned"] = lambda pixels: _squashed(pixels, size, mode="bilinear", align_corners=True)
    return made


@final
@dataclass(frozen=True)
class InputReport:
    """An app's own input beside the right one.

    Attributes:
        off: mean difference, levels of 255; infinite for another shape.
        cause: the fault that makes the nearest input, a key of :data:`mnv2dense.runtimes.exam_causes.CAUSES`; None
            where none is near, or nothing differs.
        said: one line.
    """

    off: float
    cause: str | None
    said: str

    @property
    def equal(self) -> bool:
        """Whether it is the same picture, prepared the same way."""
        return self.off <= _ROOM


def exam_of(model: ExportedModel) -> Exam:
    """What a file carries to be checked by.

    Raises:
        ValueError: nothing, or what this version does not read.
    """
    if model.exam is None:
        raise ValueError(
            f"{model.path}: it carries no exam (exported with exam.pictures=0, or by an older version); export it "
            "again, or compare it with its model by tools/evaluate.py."
        )
    return model.exam


def check_input(path: str | Path, image: npt.NDArray[np.uint8], *, picture: int = 0) -> InputReport:
    """Compare what an app hands the model with what it should, for a picture of the file's exam.

    ``Path("picture.png").write_bytes(ExportedModel("detector.onnx").exam.pictures[0].png)`` is the picture to give the
    app; ``check_input("detector.onnx", its_input)`` then says what is wrong with its preparation.

    Args:
        path: an exported file.
        image: uint8 [3, H, W] or [1, 3, H, W], as the app made it.
        picture: which of the exam's.

    Raises:
        ValueError: the file carries no exam, or no such picture.
    """
    model = ExportedModel(path)
    exam = exam_of(model)
    if not 0 <= picture < len(exam.pictures):
        raise ValueError(
            f"{path}: its exam has {len(exam.pictures)} pictures, numbered from 0; there is no picture={picture}."
        )
    wanted = (3, *model.size)
    given = image[0] if image.ndim == 4 and len(image) == 1 else image
    if given.dtype != np.uint8 or given.shape != wanted:
        swapped = given.shape == (*model.size, 3)
        cause = "channels last" if swapped else None
        return InputReport(
            np.inf, cause, f"it is {given.dtype} {list(given.shape)}, and the file takes uint8 {list(wanted)}"
        )
    pixels = decoded(exam.pictures[picture].png)
    off = _apart(given, rightly(pixels, model.size, model.resize))
    if off <= _ROOM:
        return InputReport(off, None, f"equal: off by {off:.2g} of 255 on average")
    others = {name: _apart(given, make(pixels)) for name, make in wrongly(model.size, model.resize).items()}
    nearest = min(others, key=lambda name: others[name])
    if others[nearest] > off / 2:
        return InputReport(off, None, f"off by {off:.2g} of 255 on average, and no known fault makes such an input")
    return InputReport(off, nearest, f"{nearest}: {CAUSES[nearest].said}. {CAUSES[nearest].next_step}")


def decoded(png: bytes) -> Pixels:
    """uint8 [H, W, 3], RGB.

    Raises:
        ValueError: no picture, or a damaged or large one.
    """
    if not png.startswith(_PNG):
        raise ValueError("a picture of its exam is no PNG")
    return decode_image(png, name="a picture of its exam", max_pixels=_LARGEST)


def _channels_first(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _apart(given: npt.NDArray[np.uint8], other: Tensor) -> float:
    return float(np.abs(given.astype(np.float32) - other[0].numpy().astype(np.float32)).mean())


def _as_channels_last(image: Tensor) -> Tensor:
    """The bytes of [H, W, 3] taken for [3, H, W]."""
    return image.permute(0, 2, 3, 1).reshape(image.shape)


def _squashed(pixels: Pixels, size: tuple[int, int], **how: object) -> Tensor:
    """Resized by another rule than ours."""
    image = _channels_first(pixels)[None].float()
    return F.interpolate(image, size, **how).round().to(torch.uint8)  # type: ignore[arg-type]  # options by name
