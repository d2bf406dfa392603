"""A data set written in another format, or divided anew: what ``tools/convert.py`` does once its data is built."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from mnv2dense.data.pool import Pool, divided
from mnv2dense.data.split_checks import disagreement
from mnv2dense.data.splits import SplitPlan
from mnv2dense.data.writing.folder import REPORT, check_output, whole_folder
from mnv2dense.data.writing.notes import Note, merged
from mnv2dense.data.writing.placing import Placing
from mnv2dense.data.writing.voc import Corners
from mnv2dense.data.writing.writers import BoxFormat, Format, MaskFormat, PoolWriter, Told, Writing
from mnv2dense.protocols import BoxDataset, Dataset, JoinedData, MaskDataset
from mnv2dense.reporting.usage import override
from mnv2dense.types.class_lists import VOC_MASK_CLASSES


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        folder: as it was asked for.
        to: the format.
        splits: name -> how many images; of folds "fold_0/train" and so on.
        notes: what the format cannot say, or what was changed.
        read_by: the words of a command that read it, of folds the first; nothing of lists, and of labels
            without images.
    """

    folder: Path
    to: Format
    splits: Mapping[str, int]
    notes: Sequence[Note]
    read_by: str


def convert(
    splits: Mapping[str, Dataset],
    output: str | Path,
    *,
    to: Format,
    images: Placing = "copy",
    corners: Corners = "whole",
    plan: SplitPlan | None = None,
    together: Iterable[tuple[str | Path, str | Path]] = (),
    overwrite: bool = False,
    told: Told | None = None,
) -> Conversion:
    """Write data sets in a format, in the splits that they have or in new ones.

    The folder is there whole or not at all, and ``convert.json`` in it says what is not as it was.

    Args:
        splits: name -> data set, of boxes or of masks, all of the same classes.
        output: a new folder, or an empty one.
        to: as which choice of ``data`` it is read again; "lists" are text files of the images' paths.
        images: whether images are copied, linked or left out.
        corners: of VOC, integers or decimals.
        plan: how to divide all images anew; None keeps the splits.
        together: pairs of image files that a plan must not part, such as near-duplicates.
        overwrite: replace ``output`` if this function wrote it.
        told: called with (images done, images in all) of each split.

    Raises:
        FileExistsError: ``output`` holds something else.
        ValueError: an option outside its values, or data that the format has no place for.
        OSError: an image cannot be read, or a file written.
    """
    folder = Path(output)
    check_options(to=to, images=images, corners=corners)
    check_output(folder, overwrite=overwrite)
    _check_kinds(splits, to)
    first, *others = splits.values()
    for other in others:
        if tuple(other.class_names) != tuple(first.class_names):
            raise ValueError(disagreement(tuple(first.class_names), tuple(other.class_names)))
    pool = Pool.of(splits)
    _check_images(pool, folder, images=images if to != "lists" else "none", overwrite=overwrite)
    pairs = [*together]
    if plan is not None and plan.alike is not None:
        from mnv2dense.doctor.alike import alike_files

        alike = alike_files(splits, near=plan.alike == "near", told=told or (lambda done, total: None))
        pool.notes.append(Note("alike", len(alike), "pairs of images show the same, and stay on one side"))
        pairs += alike
    sets = {"": pool.splits} if plan is None else divided(pool, plan, pairs)
    writer = PoolWriter(pool, plan is None, Writing(to, images, corners, told))
    with whole_folder(folder, overwrite=overwrite) as new:
        notes = [*pool.notes, *writer.notes()]
        counts: dict[str, int] = {}
        for below, parts in sets.items():
            inside = new / below
            inside.mkdir(exist_ok=True)
            said = writer.write(inside, parts)
            notes += said if below == next(iter(sets)) else []  # each fold has all images
            counts |= {f"{below}/{name}".strip("/"): len(places) for name, places in parts.items()}
        below, parts = next(iter(sets.items()))
        words = _words(folder / below, to, list(parts), first) if images != "none" else ""
        done = Conversion(folder, to, counts, merged(notes), words)
        report = json.dumps(_report(done, splits, images, plan), indent=1, ensure_ascii=False)
        (new / REPORT).write_text(f"{report}\n", "utf-8", "backslashreplace")
    return done


def check_options(*, to: object, images: object, corners: object) -> None:
    """Refuse what cannot be, before any data is read.

    Raises:
        ValueError: an option outside its values.
    """
    if to not in get_args(Format):
        raise ValueError(
            f"to={to}: coco, voc or yolo for boxes, mask_folder or voc_masks for masks, lists for paths alone."
        )
    if images not in get_args(Placing):
        raise ValueError(
            f"images={images}: copy, link (takes no room, but a tool that changes an image changes the original) or "
            "none (labels alone)."
        )
    if corners not in get_args(Corners):
        raise ValueError(
            f"corners={corners}: whole (VOC's integers) or exact (with decimals, which some readers refuse)."
        )


def _check_kinds(data: Mapping[str, Dataset], to: Format) -> None:
    """Refuse data that a format has no place for.

    Raises:
        ValueError: no data, or data of another kind.
    """
    if not data:
        raise ValueError("there is no data set to convert: give train, val or both.")
    for name, dataset in data.items():
        if isinstance(dataset, JoinedData):
            raise ValueError(f"data.{name} is joint; convert each of its parts by itself.")
        if to in get_args(BoxFormat) and not isinstance(dataset, BoxDataset):
            raise ValueError(
                f"to={to} is of boxes, and data.{name} ({type(dataset).__name__}) has none: a mask does not tell where "
                "one object ends and the next begins. Masks go to mask_folder or voc_masks, names of images to lists."
            )
        if to in get_args(MaskFormat) and not isinstance(dataset, MaskDataset):
            raise ValueError(
                f"to={to} is of masks, and data.{name} ({type(dataset).__name__}) has none. data=coco_masks paints "
                "COCO's outlines; boxes go to coco, voc or yolo."
            )


def _check_images(pool: Pool, folder: Path, *, images: Placing, overwrite: bool) -> None:
    if images != "none" and not pool.paths[0].is_file():
        raise ValueError(f"images={images}: {pool.paths[0]} is no file of its own; images=none leaves images out.")
    if not overwrite or not folder.is_dir():
        return
    inside = folder.resolve()
    # A link lies where it is, whatever it leads to; and labels may be read from elsewhere than images.
    read = [*pool.paths, *(Path(str(getattr(dataset, "source", ""))) for dataset in pool.data.values())]
    if any(path.resolve().is_relative_to(inside) or path.absolute().is_relative_to(inside) for path in read):
        raise ValueError(f"output={folder}: the data that is read lies in it, and would be lost; name another folder.")


def _words(folder: Path, to: Format, splits: Sequence[str], dataset: Dataset) -> str:
    """What a command is told to read it."""
    if to == "lists":
        return ""
    words = [f"data={to}", override("data.root", str(folder))]
    if to in ("coco", "voc_masks"):  # others call them so by themselves
        words += [f"data.{split}_split={split}" for split in ("train", "val") if split in splits]
    words += [f"data.{split}=null" for split in ("train", "val") if split not in splits]
    classes = tuple(dataset.class_names)
    if to == "mask_folder" or (to == "voc_masks" and classes != VOC_MASK_CLASSES):
        quoted = ",".join(name if re.fullmatch(r"\w+", name) else _in_quotes(name) for name in classes)
        words.append(shlex.quote(f"data.class_names=[{quoted}]"))
    return " ".join(words)


def _in_quotes(name: str) -> str:
    """As Hydra reads it."""
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), name)
    return f'"{escaped}"'


def _report(done: Conversion, data: Mapping[str, Dataset], images: Placing, plan: SplitPlan | None) -> dict[str, Any]:
    return {
        "from": {name: str(getattr(dataset, "source", type(dataset).__name__)) for name, dataset in data.items()},
        "to": done.to,
        "read_by": done.read_by,
        "class_names": list(next(iter(data.values())).class_names),
        "images": done.splits,
        "pictures": "none" if done.to == "lists" else images,
        "split": None if plan is None else asdict(plan),
        "not_as_it_was": [asdict(note) for note in done.notes],
    }
