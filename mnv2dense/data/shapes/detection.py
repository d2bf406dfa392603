"""The embedded data set: textured shapes on busy backgrounds, drawn once from a seed, in COCO's own format.

It needs no download, is learnt in minutes on a CPU, and takes the same way through the code as real COCO.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from mnv2dense.data.datasets.coco import CocoDetection
from mnv2dense.data.shapes.drawing import SHAPE_CLASSES, draw_image
from mnv2dense.utils.cache import cache_folder

# Part of the cache folder's name: raise it when drawing changes, so that nobody trains on old images.
_VERSION = 4

_log = logging.getLogger(__name__)


@final
class Shapes(CocoDetection):
    """Images of shapes of six classes, 0 to 8 an image, partly hiding each other; a few are empty.

    Boxes are tight around what shows of a shape, areas the number of its pixels.

    Drawn at the first use (about 10 s), then read from the cache. Two processes may ask at once.

    Args:
        split: ``train`` or ``val``; no image is in both.
        root: the folder to draw into, or to find them in; by default ``$MNV2DENSE_CACHE``, or
            ``~/.cache/mnv2dense``, with a name made of the arguments.
        seed: another seed gives other images.
        train_images: how many to train on.
        val_images: how many to validate on.
        image_size: the shorter side in pixels; the longer one is up to a third longer.
        limit: only the first so many images of the split.

    Attributes:
        class_names: :data:`SHAPE_CLASSES`.

    Raises:
        ValueError: an option is wrong, or ``root`` holds shapes drawn with other arguments.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        root: str | Path | None = None,
        seed: int = 0,
        train_images: int = 1200,
        val_images: int = 200,
        image_size: int = 240,
        limit: int | None = None,
    ) -> None:
        folder = shapes_folder(
            root, split=split, seed=seed, train_images=train_images, val_images=val_images, image_size=image_size
        )
        super().__init__(root=folder, split=split, limit=limit)


def shapes_folder(
    root: str | Path | None, *, split: str, seed: int, train_images: int, val_images: int, image_size: int = 240
) -> Path:
    """The COCO data set that the shapes were drawn as, drawn now where it is not there; see :class:`Shapes`.

    Raises:
        ValueError: an option is wrong, or ``root`` holds shapes drawn with other arguments.
        OSError: the folder cannot be written.
    """
    if split not in ("train", "val"):
        raise ValueError(f"split={split!r}: shapes have the splits 'train' and 'val'.")
    folder = Path(root) if root is not None else _cache_folder(seed, train_images, val_images, image_size)
    return draw_shapes(folder, seed=seed, train=train_images, val=val_images, size=image_size)


def draw_shapes(folder: str | Path, *, seed: int = 0, train: int = 1200, val: int = 200, size: int = 240) -> Path:
    """Draw a COCO data set: ``{train,val}/*.jpg`` and ``annotations/instances_{train,val}.json``.

    The same arguments give the same bytes. The folder appears complete or not at all; if it is already
    there, nothing is drawn. Segmentations are the visible pixels, run-length coded.

    Args:
        folder: where; its parents are made.
        seed: of all images.
        train: number of images to train on.
        val: number of images to validate on.
        size: shorter side in pixels, 32 or more.

    Returns:
        ``folder``.
    """
    folder = Path(folder).absolute()
    if train < 1 or val < 1 or size < 32:
        raise ValueError(f"train={train}, val={val}, size={size}: draw at least 1 image each, of 32 px or more.")
    arguments = {"version": _VERSION, "seed": seed, "train": train, "val": val, "size": size}
    if _is_drawn(folder, arguments):
        return folder
    _log.info("drawing %d images of shapes, once, into %s", train + val, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OSError(f"cannot draw shapes into {folder}: {error}. Set MNV2DENSE_CACHE or root=.") from error
    try:
        for number, (split, count) in enumerate((("train", train), ("val", val))):
            _draw_split(draft, split, count, size, first_id=number * train + 1, seeds=[seed, number])
        (draft / "shapes.json").write_text(json.dumps(arguments))
        draft.chmod(0o755)  # mkdtemp's folders are its owner's alone
        draft.replace(folder)
    except OSError:
        if not _is_drawn(folder, arguments):  # else another process was first, with the same bytes
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _is_drawn(folder: Path, arguments: dict[str, int]) -> bool:
    """Whether the folder holds these shapes; an error if it holds anything else."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    record = folder / "shapes.json"
    found = json.loads(record.read_text()) if record.is_file() else None
    if found != arguments:
        content = f"shapes drawn with {found}" if found else "something else"
        raise ValueError(
            f"{folder}: holds {content}, not shapes drawn with {arguments}. Choose another folder, or remove "
            "this one to have it drawn anew."
        )
    return True


def _cache_folder(*arguments: int) -> Path:
    digest = hashlib.sha256(repr((_VERSION, *arguments)).encode()).hexdigest()[:10]
    return cache_folder() / f"shapes-{digest}"


def _draw_split(folder: Path, split: str, count: int, size: int, first_id: int, seeds: list[int]) -> None:
    (folder / split).mkdir()
    (folder / "annotations").mkdir(exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with ThreadPoolExecutor() as pool:  # numpy and OpenCV let other threads run meanwhile
        # A random stream for each image: the tenth is the same whatever their number, and whoever draws it.
        drawn = pool.map(lambda index: _draw(np.random.default_rng([*seeds, index]), size), range(count))
        for image_id, (jpeg, height, width, objects) in enumerate(drawn, start=first_id):
            name = f"{image_id:06d}.jpg"
            (folder / split / name).write_bytes(jpeg)
            images.append({"id": image_id, "file_name": name, "width": width, "height": height})
            for row in objects:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id} | row)
    categories = [{"id": label + 1, "name": name, "supercategory": "shape"} for label, name in enumerate(SHAPE_CLASSES)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _draw(rng: np.random.Generator, size: int) -> tuple[bytes, int, int, list[dict[str, Any]]]:
    """One image as a JPEG, its height and width, and its objects as COCO has them."""
    import cv2

    image, labels, owners = draw_image(rng, size)
    _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    objects = [{"category_id": label + 1} | _describe(owners == number) for number, label in enumerate(labels, start=1)]
    return jpeg.tobytes(), *owners.shape, objects


def _describe(visible: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Box, area and run lengths (down the columns, as COCO has them) of a mask [H, W]."""
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    column_major = visible.ravel(order="F")
    turns = np.flatnonzero(np.diff(column_major)) + 1
    runs = np.diff(np.concatenate([[0], turns, [visible.size]])).tolist()
    return {
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(visible.sum()),
        "iscrowd": 0,
        "segmentation": {
            "size": list(visible.shape),
            "counts": [0, *runs] if column_major[0] else runs,  # the first run is of background
        },
    }
