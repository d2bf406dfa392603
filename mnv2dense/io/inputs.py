"""What a predictor takes for an image, and how it becomes pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image
    from torch import Tensor

    ImageInput = str | Path | bytes | Image.Image | npt.NDArray[np.uint8] | Tensor

MAX_BYTES = 64 * 2**20
"""Of an image from the web; the largest JPEGs that cameras write have half of it."""


def is_image(given: object) -> bool:
    """Whether this is meant as one image, and not as several."""
    import numpy as np
    from PIL import Image
    from torch import Tensor

    return isinstance(given, str | Path | bytes | Image.Image | np.ndarray | Tensor)


def is_address(given: object) -> bool:
    """Whether a string is an address, as in https://..., and no path."""
    return isinstance(given, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", given) is not None


def fetched(given: ImageInput) -> ImageInput:
    """The same; of an address the bytes of the file that is there, so that nobody has to fetch it twice.

    Raises:
        ValueError: another scheme than http and https.
        OSError: it could not be had.
    """
    if isinstance(given, str) and is_address(given):
        from mnv2dense.utils.download import fetch

        return fetch(given, max_bytes=MAX_BYTES)
    return given


def pixels_of(given: ImageInput, *, name: str | Path = "image") -> npt.NDArray[np.uint8]:
    """Uint8 RGB [H, W, 3] of an image in any of its forms, upright.

    Tensors on the CPU and contiguous arrays are not copied.

    Args:
        given: a path or http(s) address, the bytes of a file, a PIL image of any mode, uint8 RGB [H, W, 3] as an array,
            or uint8 RGB [3, H, W] as a tensor.
        name: stands in messages about bytes; a path or address has its own.

    Raises:
        ValueError: not an image, or a shape or type other than those above.
        OSError: no such file, or it could not be fetched.
    """
    import numpy as np
    import torch
    from PIL import Image

    from mnv2dense.io.reading import decode_image, from_pillow, read_image

    name = given if isinstance(given, str | Path) else name
    given = fetched(given)
    if isinstance(given, bytes):
        return decode_image(given, name=name)
    if isinstance(given, str | Path):
        return read_image(Path(given))
    if isinstance(given, Image.Image):
        return from_pillow(given)
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or 0 in given.shape:
            raise ValueError(
                f"an array of {given.dtype} {list(given.shape)}, but an image is uint8 RGB [height, width, 3]."
            )
        return np.ascontiguousarray(given)
    if isinstance(given, torch.Tensor):
        if given.dtype != torch.uint8 or given.ndim != 3 or given.shape[0] != 3 or 0 in given.shape:
            raise ValueError(
                f"a tensor of {given.dtype} {list(given.shape)}, but an image is uint8 RGB [3, height, width]."
            )
        return given.detach().cpu().permute(1, 2, 0).numpy()
    raise ValueError(
        f"{type(given).__name__} is not an image: give a path, PIL image, array or tensor, an http(s) address or a "
        "file's bytes."
    )
