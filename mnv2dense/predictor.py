"""Pictures in, results in the pictures' own pixels out."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from mnv2dense.checkpoint import load_model
from mnv2dense.exported import ExportedModel, is_exported, one_torch_thread
from mnv2dense.folding import fold_batch_norms
from mnv2dense.geometry import infos, resize
from mnv2dense.model import DenseModel
from mnv2dense.types import Infos
from mnv2dense.viewing import Viewing, check_segmentation, segment

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    Picture = str | Path | Image.Image | npt.NDArray[np.uint8] | Tensor


@final
class Predictor:
    """A model ready for use: it takes pictures as they are and answers in their pixels.

    A model of torch is copied; its batch norms are folded into the convolutions before them, which changes results by
    rounding alone and takes about a third off the time. An exported file runs in its own runtime, on the CPU, and gives
    the same results through the same resizing and selection.

    Args:
        model: a model, or the run folder, checkpoint or exported file (.onnx, .xml, .pte, .tflite) to load one from.
        threshold: results with a lower score are left out; None keeps what the model's head keeps.
        device: "auto" takes a GPU where there is one, and the CPU for an exported file.
        test_time: how a segmentation model looks at pictures; None looks as it was trained to.
        threads: of an exported file's runtime; None takes what it takes.

    Raises:
        ValueError: a threshold outside 0..1; ``test_time`` for another task than segmentation or for an exported file;
            another device than the CPU for such a file, or ``threads`` without one; or what
            :func:`mnv2dense.load_model` or :class:`mnv2dense.exported.ExportedModel` raise.
    """

    def __init__(
        self,
        model: DenseModel | ExportedModel | str | Path,
        *,
        threshold: float | None = None,
        device: torch.device | str = "auto",
        test_time: Viewing | None = None,
        threads: int | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold={threshold}: scores lie between 0 and 1; 0.3 is a good start.")
        if isinstance(model, str | Path) and is_exported(model):
            model = ExportedModel(model, threads=threads)
        elif threads is not None:
            raise ValueError(f"threads={threads} is for exported files; for torch, call torch.set_num_threads.")
        self.model: DenseModel | ExportedModel
        if isinstance(model, ExportedModel):
            check_file_options(device=device, test_time=test_time)
            self.model, self.device = model, torch.device("cpu")
        else:
            if isinstance(device, str) and device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            loaded = model if isinstance(model, DenseModel) else load_model(model)
            if test_time is not None:
                check_segmentation(loaded, "test_time")
            folded = fold_batch_norms(copy.deepcopy(loaded).eval())
            self.model = folded.to(device).to(memory_format=torch.channels_last)
            self.device = torch.device(device)
        self.threshold = threshold
        self.test_time = test_time

    def __call__(self, picture: Picture) -> Any:  # noqa: ANN401 - the head's result type
        """Results of one picture.

        Args:
            picture: a path, a PIL image of any mode (turned upright by its EXIF data, as a file is), uint8 RGB
                [H, W, 3] as an array, or uint8 RGB [3, H, W] as a tensor.

        Returns:
            :class:`mnv2dense.types.Detections` for a detector.

        Raises:
            ValueError: not a picture, or a shape or type other than those above.
            FileNotFoundError: no such file.
        """
        return self.many([picture])[0]

    def many(self, pictures: Iterable[Picture]) -> list[Any]:
        """Results of several pictures, in their order, run as one batch; with ``test_time`` one by one."""
        images = [_as_tensor(picture) for picture in pictures]
        if not images:
            return []
        if self.test_time is not None and isinstance(self.model, DenseModel):
            return [segment(self.model, image, self.test_time) for image in images]
        with one_torch_thread() if isinstance(self.model, ExportedModel) else nullcontext():
            fitted, fits = zip(*(resize(image, self.model.size, self.model.resize) for image in images), strict=True)
            back = infos(range(len(images)), [(image.shape[1], image.shape[2]) for image in images], fits)
            with torch.inference_mode():
                results: list[Any] = self.model.predict(
                    torch.stack(fitted).to(self.device), Infos(*(part.to(self.device) for part in back))
                )
        if self.threshold is None:
            return results
        return [result.above(self.threshold) for result in results]


def check_file_options(
    *, device: torch.device | str = "cpu", test_time: Viewing | None = None, output_stride: int | None = None
) -> None:
    """Refuse what an exported file cannot do any more.

    Raises:
        ValueError: another device than "auto" or the CPU, a way of looking at pictures, or an output stride.
    """
    if str(device) not in ("auto", "cpu"):
        raise ValueError(f"device={device}: exported files run on the CPU; leave device out, or give the checkpoint.")
    for option, value in (("test_time", test_time), ("output_stride", output_stride)):
        if value is not None:
            raise ValueError(f"{option} changes the model, and an exported file is fixed: give the checkpoint instead.")


def _as_tensor(picture: Picture) -> Tensor:
    import numpy as np
    from PIL import Image

    from mnv2dense.data.pictures import from_pillow, read_picture

    if isinstance(picture, str | Path):
        return torch.from_numpy(read_picture(Path(picture))).permute(2, 0, 1)
    if isinstance(picture, Image.Image):
        return torch.from_numpy(from_pillow(picture)).permute(2, 0, 1)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ValueError(
                f"an array of {picture.dtype} {list(picture.shape)}, but a picture is uint8 RGB [height, width, 3]."
            )
        return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
            raise ValueError(
                f"a tensor of {picture.dtype} {list(picture.shape)}, but a picture is uint8 RGB [3, height, width]."
            )
        return picture
    raise ValueError(f"{type(picture).__name__} is not a picture: give a path, PIL image, array or tensor.")
