"""Where COCO data sets, and exports in their format, keep annotation files and images."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mnv2dense.data.datasets.image_list import for_split
from mnv2dense.utils.files import is_file

_BESIDE_IMAGES: Final = "{split}/_annotations.coco.json"  # Roboflow's


def annotation_file(root: Path, split: str, given: str | Path | None, *, kind: str = "instances") -> Path:
    """The json of a split: the one that is given, else ``annotations/{kind}_{split}.json`` or Roboflow's.

    Args:
        root: the data set's folder.
        split: stands in the place of ``{split}``.
        given: relative to ``root``.
        kind: "instances" or "panoptic".

    Raises:
        FileNotFoundError: there is none; the message lists those that there are.
    """
    if given is not None:
        choices = [root / for_split(given, split)]
    else:
        names = [f"annotations/{kind}_{{split}}.json", *([_BESIDE_IMAGES] if kind == "instances" else [])]
        choices = [root / for_split(name, split) for name in names]
    found = next((file for file in choices if file.is_file()), None)
    if found is None:
        raise FileNotFoundError(_missing(root, choices, kind))
    return found


def image_folder(
    root: Path, split: str, images: str | Path | None, *, annotations: Path | None = None, example: str | None = None
) -> Path:
    """The folder of the images: the one that is given, else ``{split}``, else ``images/{split}``.

    Args:
        root: the data set's folder.
        split: stands in the place of ``{split}``.
        images: relative to ``root``.
        annotations: a json that was named by its path. Then the folders around it are looked at first: with another
            split's json, the images of this split would be taken for those of the other, if their names are the same.
        example: an image's name in it.
    """
    if images is not None:
        return root / for_split(images, split)
    usual = [root / split, root / "images" / split]
    if annotations is not None and example is not None:
        around = [annotations.parent, *usual, root / "images", root]
        found = next((folder for folder in around if is_file(folder / example)), None)
        if found is not None:
            return found
    return next((folder for folder in usual if folder.is_dir()), usual[0])


def _missing(root: Path, choices: list[Path], kind: str) -> str:
    if not root.is_dir():
        return f"root={root}: no such folder (looked from {Path.cwd()})."
    there = sorted(str(path.relative_to(root)) for path in {*root.glob("*.json"), *root.glob("*/*.json")})
    splits = sorted(
        {path.stem.removeprefix(f"{kind}_") for path in root.glob(f"annotations/{kind}_*.json")}
        | {path.parent.name for path in root.glob(for_split(_BESIDE_IMAGES, "*"))}
    )
    known = f"Splits there are: {', '.join(splits[:10])}; choose by split=. "
    return (
        f"{choices[0]}: no such annotation file. {known if splits else ''}Set root= to the folder that holds "
        "annotations/, or name the file with annotations=, '{split}' in it standing for the split; json files "
        f"below {root}: {', '.join(there[:10]) or 'none'}."
    )
