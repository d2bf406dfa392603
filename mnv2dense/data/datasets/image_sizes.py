"""The sizes of many images by their headers: read once, and mapped from then on as long as no file changes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.annotation_index import Columns, indexed_files
from mnv2dense.data.datasets.image_list import BadImages, size_of_listed
from mnv2dense.utils.cores import usable_cores

# Count it up wherever another size is read of the same file.
_READER = "image-sizes 1"

# Images that a thread looks at in a row: to hand over each takes as long as to read its header.
_AT_ONCE = 256


def sizes_of_listed(paths: Sequence[Path], bad_images: BadImages = "error") -> npt.NDArray[np.int64]:
    """(height, width) of the upright images, int64 [P, 2], pixels; of bad ones that are kept, 1 x 1.

    Raises:
        ImageError: one of them is none; the message names it.
    """

    def sizes(start: int) -> list[tuple[int, int]]:
        return [size_of_listed(path, bad_images) for path in paths[start : start + _AT_ONCE]]

    def read() -> Columns:
        with ThreadPoolExecutor(usable_cores()) as pool:
            found = [size for part in pool.map(sizes, range(0, len(paths), _AT_ONCE)) for size in part]
        return Columns({"sizes": np.array(found, np.int64).reshape(-1, 2)}, {})

    if bad_images == "keep":
        return read().arrays["sizes"]  # whatever is wrong with them is to be met anew
    return indexed_files(paths, reader=_READER, read=read).arrays["sizes"]
