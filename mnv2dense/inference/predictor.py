"""Images in, results in the images' own pixels out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypedDict, Unpack, cast, final, overload

import torch
from torch import Tensor

from mnv2dense.inference.calibrated import calibrated as with_calibrated_scores
from mnv2dense.inference.calibrated import temperatures_of
from mnv2dense.inference.least_scores import Threshold, check_threshold, least_scores
from mnv2dense.inference.open_model import open_model
from mnv2dense.inference.results import (
    ImageClassification,
    ImageDetections,
    ImageJoint,
    ImageResult,
    ImageSegmentation,
    with_image,
)
from mnv2dense.inference.tiles import Tiles, detect_in_tiles, find_in_tiles
from mnv2dense.inference.tta import HIGHEST_SCALE, LOWEST_SCALE, TTA, segment, segmentation_network
from mnv2dense.io.inputs import fetched, is_image, pixels_of
from mnv2dense.ops.postprocess import BoxSelection, JointSelection
from mnv2dense.ops.resize import Fit, infos, resize
from mnv2dense.protocols import Model
from mnv2dense.types import Detections, Infos, JointResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import TypeVar  # with defaults, which those of typing have from Python 3.13 on

    from mnv2dense.io.inputs import ImageInput

    Result = TypeVar("Result", bound=ImageResult, default=Any)
else:
    from typing import TypeVar

    Result = TypeVar("Result")

BATCH_SIZE = 8
"""Images that run together unless asked otherwise."""

# Large images run fewer at a time: eight of the largest would take 4 GB.
_BYTES_OF_BATCH = 2**29


class _Options(TypedDict, total=False):
    """What a predictor takes for models of any task."""

    threshold: Threshold
    device: torch.device | str
    test_time: TTA | None
    threads: int | None
    tiles: Tiles | None
    packages: Sequence[str]
    calibrated: bool


@final
class Predictor(Generic[Result]):
    """A model ready for use: it takes images as they are and answers in their pixels.

    A model of torch is copied; its batch norms are folded into the convolutions before them, which changes results by
    rounding alone and takes about a third off the time. An exported file runs in its own runtime, on the CPU, and gives
    the same results through the same resizing and selection.

    ``Predictor("run", task="detection")`` is for a type checker, or an editor, to know what comes out, and for the
    reader to see what is expected; models of other tasks are refused then.

    Several threads may use one predictor; an exported file's runtime serves one of them at a time.

    Args:
        model: a model, or the run folder, checkpoint or exported file (.onnx, .xml, .pte, .tflite) to load one from.
        task: "detection", "segmentation", "classification" or "joint", where it shall be that; None takes any.
        threshold: results with a lower score are left out; "auto" leaves out boxes below the thresholds that the model
            keeps, which training's end and ``evaluate(keep_in=...)`` choose for each class; None keeps what
            the model's head keeps.
        device: "auto" takes a GPU where there is one, and the CPU for an exported file.
        test_time: how a segmentation model looks at images; None looks as it was trained to.
        threads: of an exported file's runtime; None takes what it takes.
        tiles: look at parts of an image one by one, for small objects in large images: boxes are merged, and of
            masks logits are blended (which is ``test_time`` with windows; of several heads each pixel goes by the
            tile that shows most around it). None looks at the whole alone.
        packages: packages whose classes a checkpoint may name, see :func:`mnv2dense.load_model`.
        calibrated: divide the logits of scores by the temperature that the model keeps, so that they say how often
            answers are right; ``threshold`` and the order of results are of scores as the model gives them.

    Raises:
        ValueError: a threshold outside 0..1, or "auto" of a model that keeps none; ``calibrated`` of one that keeps no
            temperature; a model for another task than ``task``; ``test_time`` for another task than segmentation or
            for an exported file; another device than the CPU for such a file, or ``threads`` for anything but the path
            of one; ``tiles`` for a classifier, for an exported file of masks or beside ``test_time``; or what
            :func:`mnv2dense.load_model` or :class:`mnv2dense.ExportedModel` raise.
    """

    @overload
    def __init__(
        self: Predictor[ImageDetections],
        model: Model | str | Path,
        *,
        task: Literal["detection"],
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Predictor[ImageSegmentation],
        model: Model | str | Path,
        *,
        task: Literal["segmentation"],
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Predictor[ImageClassification],
        model: Model | str | Path,
        *,
        task: Literal["classification"],
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Predictor[ImageJoint],
        model: Model | str | Path,
        *,
        task: Literal["joint"],
        **options: Unpack[_Options],
    ) -> None: ...
    @overload
    def __init__(
        self: Predictor[Any], model: Model | str | Path, *, task: None = None, **options: Unpack[_Options]
    ) -> None: ...

    def __init__(
        self,
        model: Model | str | Path,
        *,
        task: str | None = None,
        threshold: Threshold = None,
        device: torch.device | str = "auto",
        test_time: TTA | None = None,
        threads: int | None = None,
        tiles: Tiles | None = None,
        packages: Sequence[str] = ("mnv2dense",),
        calibrated: bool = False,
    ) -> None:
        check_threshold(threshold)
        # What is loaded here is nobody else's, so it needs no copy.
        is_own = isinstance(model, str | Path)
        named = str(model) if is_own else None
        if isinstance(model, str | Path):
            model = open_model(model, device=device, threads=threads, packages=packages)
        elif threads is not None:
            raise ValueError(
                f"threads={threads}: this model is loaded already. Of an exported file give the path, or "
                "ExportedModel(path, threads=...); torch's threads are set by torch.set_num_threads."
            )
        if task not in (None, model.task):
            raise ValueError(f"task={task!r}: this model is for {model.task}; leave task out, or set {model.task!r}.")
        if test_time is not None:
            segmentation_network(model, "test_time")
        if tiles is not None and model.task == "segmentation":
            test_time, tiles = _windows(tiles, model, test_time), None
        if tiles is not None and model.task not in ("detection", "joint"):
            raise ValueError("tiles: a classifier says one thing of the whole image.")
        self.model = model.for_inference(device, copy=not is_own)
        self.threshold = threshold
        self.least_scores: Any = least_scores(self.model, threshold, named=named)
        self.temperatures = temperatures_of(self.model, named=named) if calibrated else {}
        self.test_time = test_time
        self.tiles = tiles

    def with_threshold(self, threshold: Threshold) -> Predictor[Result]:
        """The same model with another threshold.

        Raises:
            ValueError: see :class:`Predictor`.
        """
        check_threshold(threshold)
        made = copy(self)
        made.threshold, made.least_scores = threshold, least_scores(self.model, threshold)
        return made

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.device

    # A path is iterable too, as is a list: the first that fits holds.
    @overload
    def __call__(self, images: ImageInput, *, batch_size: int = ...) -> Result: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, images: list[Any] | tuple[ImageInput, ...], *, batch_size: int = ...
    ) -> list[Result]: ...
    @overload
    def __call__(self, images: Iterable[ImageInput], *, batch_size: int = ...) -> Iterator[Result]: ...

    def __call__(
        self, images: ImageInput | Iterable[ImageInput], *, batch_size: int = BATCH_SIZE
    ) -> Result | list[Result] | Iterator[Result]:
        """Results of one image, of a list of them, or of whatever gives one after the other.

        Args:
            images: a path or http(s) address, a file's bytes, a PIL image of any mode (turned upright by its EXIF
                data, as a file is), uint8 RGB [H, W, 3] as an array, or uint8 RGB [3, H, W] as a tensor; a list or
                tuple of these; or a generator or other iterable of these.
            batch_size: images that run together.

        Returns:
            Of one image its result: :class:`mnv2dense.inference.results.ImageDetections` for a detector,
            ``ImageClassification`` for a classifier, ``ImageSegmentation`` for masks, ``ImageJoint`` for several
            heads. Of a list a list, as
            :meth:`many` gives it; of anything else an iterator, as :meth:`stream` does.

        Raises:
            ValueError: not an image, or a shape or type other than those above.
            OSError: no such file, or an address that cannot be fetched.
        """
        if is_image(images) or not isinstance(images, Iterable):
            return self.many([images])[0]  # type: ignore[list-item]
        several = cast("Iterable[ImageInput]", images)
        if isinstance(several, list | tuple):
            return self.many(several, batch_size=batch_size)
        return self.stream(several, batch_size=batch_size)

    def many(self, images: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE) -> list[Result]:
        """Results of several images, in their order, run in batches; with ``test_time`` one by one."""
        return list(self.stream(images, batch_size=batch_size))

    def stream(self, images: Iterable[ImageInput], *, batch_size: int = BATCH_SIZE) -> Iterator[Result]:
        """Results one after the other, in order, of images that are taken a batch at a time.

        Memory stays as it is however many there are, as nothing is kept but the batch. An image that cannot be read
        raises when its turn comes, after the results of those before it.

        Args:
            images: of :meth:`__call__`'s kinds; a generator is not asked for more than the next batch.
            batch_size: 1 answers a camera soonest.

        Raises:
            ValueError: a batch size below 1; for the rest see :meth:`__call__`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1.")
        return self._stream(iter(images), batch_size)

    def _stream(self, images: Iterator[ImageInput], batch_size: int) -> Iterator[Result]:
        problem: Exception | None = None
        while problem is None:
            batch: list[_Prepared] = []
            try:
                while len(batch) < batch_size and sum(one.bytes_held for one in batch) < _BYTES_OF_BATCH:
                    batch.append(self._prepare(next(images)))
            except Exception as error:  # StopIteration, or what the next image has wrong with it
                problem = error
            if batch:
                yield from self._run(batch)
        if not isinstance(problem, StopIteration):
            raise problem

    def _prepare(self, picture: ImageInput) -> _Prepared:
        given = fetched(picture)
        name = picture if isinstance(picture, str | Path) else "image"
        image = torch.from_numpy(pixels_of(given, name=name)).permute(2, 0, 1)
        size = int(image.shape[1]), int(image.shape[2])
        if self.test_time is not None or self.tiles is not None:
            return _Prepared(given, size, image, None)
        # Now and not with the whole batch: what waits for it is the model's size, not the camera's.
        with self.model.beside():
            return _Prepared(given, size, *resize(image, self.model.size, self.model.resize))

    def _run(self, batch: list[_Prepared]) -> list[Result]:
        if self.test_time is not None:
            results: list[Any] = [segment(self.model, image.image, self.test_time) for image in batch]
        elif self.tiles is not None:
            results = [self._in_tiles(image.image, self.tiles) for image in batch]
        else:
            fits = [image.fit for image in batch if image.fit is not None]
            results = self._predict([image.image for image in batch], [image.size for image in batch], fits)
        # Of masks every pixel has a class, and none has a score.
        shown = results
        if self.least_scores is not None and self.model.task != "segmentation":
            shown = [result.above(self.least_scores) for result in results]
        if self.temperatures:
            shown = [
                with_calibrated_scores(whole, part, self.temperatures)
                for whole, part in zip(results, shown, strict=True)
            ]
        ids = self.model.category_ids
        found = [with_image(found, one.given, one.size, ids) for found, one in zip(shown, batch, strict=True)]
        return cast("list[Result]", found)

    def _predict(self, images: list[Tensor], sizes: list[tuple[int, int]], fits: list[Fit]) -> list[Any]:
        back = infos(range(len(images)), sizes, fits)
        together = images[0][None] if len(images) == 1 else torch.stack(images)
        with self.model.beside(), torch.inference_mode():
            return self.model.predict(together.to(self.device), Infos(*(part.to(self.device) for part in back)))

    def _in_tiles(self, image: Tensor, tiles: Tiles) -> Detections | JointResult:
        def find(parts: list[Tensor]) -> list[Any]:
            with self.model.beside():
                images, fits = zip(*(resize(part, self.model.size, self.model.resize) for part in parts), strict=True)
            sizes = [(int(part.shape[1]), int(part.shape[2])) for part in parts]
            found = self._predict(list(images), sizes, list(fits))
            return found if self.least_scores is None else [one.above(self.least_scores) for one in found]

        selection = self.model.selection
        if isinstance(selection, JointSelection):
            boxes = {name: part for name, part in selection.parts.items() if isinstance(part, BoxSelection)}
            thresholds = {name: part.nms_threshold for name, part in boxes.items()}
            return find_in_tiles(image, tiles, find, at_once=BATCH_SIZE, iou_thresholds=thresholds)
        iou_threshold = cast(BoxSelection, selection).nms_threshold
        return detect_in_tiles(image, tiles, find, at_once=BATCH_SIZE, iou_threshold=iou_threshold)


class _Prepared(NamedTuple):
    """An image that waits for its batch: as it was given, and as the model takes it, or looks at it itself."""

    given: ImageInput
    size: tuple[int, int]
    image: Tensor
    fit: Fit | None

    @property
    def bytes_held(self) -> int:
        """Of the image in either form; of a path there is nothing."""
        return self.image.nbytes + int(getattr(self.given, "nbytes", 0))


def _windows(tiles: Tiles, model: Model, test_time: TTA | None) -> TTA:
    """The way of looking at images that is the same for masks: windows of the model's size on the resized image."""
    if test_time is not None:
        raise ValueError("tiles and test_time are two ways to look at an image: give one; test_time has windows too.")
    segmentation_network(model, "tiles")
    side = max(model.size)  # windows have the model's proportions; none sees more than a tile in either direction
    scale = side / tiles.size
    if not LOWEST_SCALE <= scale <= HIGHEST_SCALE:
        least, most = math.ceil(side / HIGHEST_SCALE), int(side / LOWEST_SCALE)
        raise ValueError(f"tile={tiles.size}: {least} to {most} pixels suit a model of {side}.")
    return TTA(view="windows", scales=(scale,), overlap=tiles.overlap)
