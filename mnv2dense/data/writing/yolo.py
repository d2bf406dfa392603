"""YOLO as Ultralytics reads it: ``images/<split>``, ``labels/<split>`` and ``data.yaml``.

Regions to ignore, which the format has not, lie in ``ignored/<split>`` in lines like those of the labels: our reader
takes them from there, and others do not look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from mnv2dense.data.datasets.image_list import ids_from_stems
from mnv2dense.data.writing.beyond import notes_of_boxes, write_ids
from mnv2dense.data.writing.names import FreeNames
from mnv2dense.data.writing.notes import Note
from mnv2dense.data.writing.placing import Placing, place_images
from mnv2dense.data.writing.truth import BoxTruth

# Of a share of a side of 100,000 pixels, ten digits leave a hundred-thousandth of a pixel.
_DIGITS = 10


def write_yolo(
    folder: Path,
    splits: Mapping[str, BoxTruth],
    *,
    images: Placing,
    told: Callable[[int, int], None] | None = None,
) -> list[Note]:
    """Write data sets of boxes as YOLO.

    Args:
        folder: exists.
        splits: name -> its images and boxes, all of the same classes.
        images: how images get there.
        told: called with (images done, images in all) of each split.

    Returns:
        What is not as it was.
    """
    notes: list[Note] = []
    places: dict[str, list[str]] = {}
    for split, truth in splits.items():
        free = FreeNames(by_stem=True, reserved=("images",))  # readers look for the last "images" of a path
        names = [free.give(name, path) for name, path in zip(truth.names, truth.paths, strict=True)]
        _write_labels(folder, split, truth, names)
        pairs = [(path, folder / "images" / split / name) for path, name in zip(truth.paths, names, strict=True)]
        place_images(pairs, images=images, told=told)
        places[split] = [f"images/{split}/{name}" for name in names]
        notes += notes_of_boxes(truth, names)
        ignored = int(truth.objects.ignored.sum())
        notes.append(
            Note("crowds", ignored, "regions to ignore are in ignored/, which this project's reader alone looks at")
        )
    _write_config(folder, splits, places, as_lists=images == "none")
    usual = {split: list(range(len(next(iter(splits.values())).class_names))) for split in splits}
    notes += write_ids(folder, splits, places, usual_categories=usual, usual_images=_ids_by_reader)
    return notes


def _ids_by_reader(names: list[str]) -> list[int]:
    """What a reader calls images of these names, in their order: it sorts them first."""
    order = sorted(range(len(names)), key=lambda index: PurePosixPath(names[index]))
    ids = ids_from_stems([Path(names[index]) for index in order])
    found = dict(zip(order, ids, strict=True))
    return [found[index] for index in range(len(names))]


def _write_labels(folder: Path, split: str, truth: BoxTruth, names: list[str]) -> None:
    """A file for each image, also for one without objects: so it is known that somebody looked."""
    corners = truth.clipped()
    frames = truth.sizes[truth.objects.images][:, ::-1].astype(np.float64)
    centres, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    shares = np.concatenate([centres / frames, sides / frames], axis=1)
    lines = [
        " ".join([str(label), *(_share(value) for value in row)])
        for label, row in zip(truth.objects.labels.tolist(), shares.tolist(), strict=True)
    ]
    ignored, starts = truth.objects.ignored, truth.starts.tolist()
    made: set[Path] = set()
    for index, name in enumerate(names):
        rows = range(starts[index], starts[index + 1])
        for kind, chosen in (
            ("labels", [lines[row] for row in rows if not ignored[row]]),
            ("ignored", [lines[row] for row in rows if ignored[row]]),
        ):
            if chosen or kind == "labels":
                file = folder / kind / split / PurePosixPath(name).with_suffix(".txt")
                if file.parent not in made:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    made.add(file.parent)
                file.write_text("".join(f"{line}\n" for line in chosen), encoding="utf-8")


def _share(value: float) -> str:
    return f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".")


def _write_config(
    folder: Path, splits: Mapping[str, BoxTruth], places: Mapping[str, list[str]], *, as_lists: bool
) -> None:
    """data.yaml with folders; without images in them, with lists of names, by which CVAT knows its own."""
    content: dict[str, object] = {}
    for split in splits:
        content[split] = f"{split}.txt" if as_lists else f"images/{split}"
        if as_lists:
            (folder / f"{split}.txt").write_text("".join(f"{place}\n" for place in places[split]), encoding="utf-8")
    content["names"] = dict(enumerate(next(iter(splits.values())).class_names))
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1000)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
