"""The label files of a YOLO data set as columns: read and checked, or mapped from what an earlier reading gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.annotation_index import Columns, indexed_files
from mnv2dense.data.datasets.yolo_lines import boxes_of, read_lines

# Count it up wherever another content comes of the same files, or other files are refused.
_READER = "yolo-labels 2"


class YoloLabels(NamedTuple):
    """The boxes in F label files.

    Attributes:
        are_files: bool [F], whether each is there.
        counts: int64 [F], boxes in each.
        labels: int64 [T], 0..K-1.
        shares: float64 [T, 4], x, y, width, height as shares of the image.
        reduced: bool [T], the line says more than a box: an outline or key points.
    """

    are_files: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    reduced: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls, files: Sequence[Path], num_classes: int, *, keypoints: tuple[int, int] | None, are_outlines: bool
    ) -> YoloLabels:
        """Read and check all of the files, or map what an earlier reading of them gave.

        Args:
            files: one of them may be missing, and counts as empty then.
            num_classes: K.
            keypoints: how many follow each box, and of how many values each is; None where there are none.
            are_outlines: lines of more than four numbers are outlines.

        Raises:
            ValueError: one is not valid; the message names the file and the line.
            OSError: one cannot be read.
        """
        options = f"{num_classes} classes, key points {keypoints}, outlines {are_outlines}"

        def read() -> Columns:
            lines = [read_lines(file, num_classes, keypoints) for file in files]
            together = [line for own in lines for line in own]
            shares = boxes_of(together, are_outlines=are_outlines, keypoints=keypoints)
            labels = cls(
                np.array([bool(own) or file.is_file() for own, file in zip(lines, files, strict=True)], np.bool_),
                np.array([len(own) for own in lines], np.int64),
                np.array([line.label for line in together], np.int64),
                np.array(shares, np.float64).reshape(-1, 4),
                np.array([keypoints is not None or len(line.values) > 4 for line in together], np.bool_),
            )
            return Columns(labels._asdict(), {})

        return cls(**indexed_files(files, reader=_READER, read=read, options=options).arrays)
