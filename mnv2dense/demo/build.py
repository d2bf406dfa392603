"""The demo as a folder of static files: page, model, runtime and sample images; nothing else is needed to host it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch

from mnv2dense.data.shapes.drawing import SHAPE_CLASSES, draw_image
from mnv2dense.demo.onnxruntime_web import FILES, VERSION
from mnv2dense.io.reading import ImageError, list_images, read_image
from mnv2dense.ops.postprocess import JointSelection, PixelSelection, Selection
from mnv2dense.runtimes.exam_causes import CAUSES
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.types import Segmentation
from mnv2dense.utils.joint_names import part_labels
from mnv2dense.visualization.draw import class_color, save_image
from mnv2dense.visualization.palettes import PaletteChoice, mask_color

PAGE: Final = Path(__file__).parent / "static"
"""What does not depend on the model."""

MOST_SAMPLES: Final = 12
"""Sample images that a page shows."""

# What browsers decode, of what list_images lists.
_SAMPLE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")

_THUMBNAIL_PIXELS = 240


def write_page(
    folder: Path,
    model: Path,
    description: Metadata,
    *,
    title: str,
    runtime: Path,
    samples: Path | None = None,
    palette: PaletteChoice = "auto",
    threshold: float | Literal["auto"] | None = None,
) -> Path:
    """Write the page into ``folder``, which is made; files of the same names are replaced.

    Args:
        folder: for index.html and all that it loads.
        model: an .onnx file.
        description: what the file says of itself.
        title: of the model, for people.
        runtime: see :func:`mnv2dense.demo.onnxruntime_web.runtime_folder`.
        samples: a folder of images to try; None draws some for a model of the embedded shapes, and has none for
            others.
        palette: of masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.
        threshold: lowest score that the page shows at first; "auto" is the model's own of each class, None the page's.

    Returns:
        ``folder``.

    Raises:
        NotADirectoryError: there is no folder ``samples``.
        ValueError: it has no images that browsers show.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(PAGE.iterdir()):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    (folder / "runtime").mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(runtime / name, folder / "runtime" / name)
    shutil.copyfile(model, folder / "model.onnx")
    shown = _copy_samples(samples, folder / "samples") if samples else _drawn_samples(description, folder / "samples")
    about = {
        "title": title,
        "file": "model.onnx",
        "bytes": model.stat().st_size,
        "runtime": f"onnxruntime-web {VERSION}",
        "description": asdict(description),
        "causes": {fault: cause._asdict() for fault, cause in CAUSES.items()} if description.exam else {},
        "colors": _colors(description, palette),
        "samples": shown,
        "threshold": threshold,
    }
    (folder / "model.json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return folder


def _colors(description: Metadata, palette: PaletteChoice) -> list[list[int]]:
    """RGB of each class, as Python draws it: each head's own begin anew."""
    selection = description.make_selection()
    if not isinstance(selection, JointSelection):
        return _colors_of(selection, palette)
    names = description.class_names
    colors: list[list[int]] = [[] for _ in names]
    for name, part in selection.parts.items():
        for label, color in zip(part_labels(names, name), _colors_of(part, palette), strict=True):
            colors[label] = color
    return colors


def _colors_of(selection: Selection, palette: PaletteChoice) -> list[list[int]]:
    names = selection.class_names
    if not isinstance(selection, PixelSelection):
        return [list(class_color(label)) for label in range(len(names))]
    drawn = Segmentation(torch.zeros(1, 1, dtype=torch.uint8), names, selection.palette)  # for its colours alone
    return [list(mask_color(drawn, label, palette=palette)) for label in range(len(names))]


def _copy_samples(source: Path, folder: Path) -> list[dict[str, str]]:
    found = [path for path in list_images(source) if path.suffix.lower() in _SAMPLE_SUFFIXES][:MOST_SAMPLES]
    samples = []
    for number, path in enumerate(found, start=1):
        name = f"{number:02}{path.suffix.lower()}"
        try:
            _save_thumbnail(path, folder / f"{number:02}.thumbnail.jpg")
        except ImageError:
            continue  # the page has no use for it either
        shutil.copyfile(path, folder / name)
        samples.append(_sample(name, number, _spoken(path.stem)))
    if not samples:
        raise ValueError(f"samples={source}: it has no images that browsers show ({', '.join(_SAMPLE_SUFFIXES)}).")
    return samples


def _drawn_samples(description: Metadata, folder: Path) -> list[dict[str, str]]:
    selection = description.make_selection()
    heads = selection.parts.values() if isinstance(selection, JointSelection) else [selection]
    if not any(set(SHAPE_CLASSES) <= set(head.class_names) for head in heads):
        return []
    samples = []
    for number, seed in enumerate(_SEEDS, start=1):
        name = f"{number:02}.png"
        save_image(draw_image(np.random.default_rng([2026, seed]), size=320)[0], folder / name)
        _save_thumbnail(folder / name, folder / f"{number:02}.thumbnail.jpg")
        samples.append(_sample(name, number, f"Drawn shapes {number}"))
    return samples


# The liveliest first: it is the one that a visitor sees before they have done anything.
_SEEDS: Sequence[int] = (3, 4, 2, 6, 1, 5)


def _sample(name: str, number: int, title: str) -> dict[str, str]:
    return {"file": f"samples/{name}", "thumbnail": f"samples/{number:02}.thumbnail.jpg", "title": title}


def _spoken(stem: str) -> str:
    """A file's name as words."""
    words = stem.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def _save_thumbnail(source: Path, target: Path) -> None:
    from PIL import Image

    small = Image.fromarray(read_image(source))
    small.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    save_image(np.asarray(small, np.uint8), target)
