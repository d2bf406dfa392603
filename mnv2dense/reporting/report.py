"""A run for readers: MODEL_CARD.md, as the Hugging Face hub wants it, and report.html, a page that stands alone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from mnv2dense.backbones import BACKBONES
from mnv2dense.models.hub import HUB_TASKS
from mnv2dense.reporting.errors import HeadErrors
from mnv2dense.reporting.facts import ClassScore, RunFacts
from mnv2dense.reporting.inline import data_uri, jpeg_uri
from mnv2dense.reporting.page_templates import page_templates
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.listed import listed

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Color, Pixels

_METRICS = {"AP": "mean_average_precision", "mIoU": "mean_iou", "top1": "accuracy", "pixel_accuracy": "accuracy"}

_MOST_CARD_CLASSES = 40

_PLOTS = {
    "curves.png": ("Training", "Losses and scores over the epochs."),
    "precision_recall.png": (
        "Precision and recall",
        "Of all classes and of each: how many of the boxes are right (precision) where so many of the objects are "
        "found (recall). The threshold falls from left to right.",
    ),
    "confusion.png": ("Confusion", "What each class was taken for, as a share of the true class."),
}

_IMAGE_WIDTH, _IMAGE_BYTES = 880, 110_000
_SHEET_WIDTH, _SHEET_BYTES = 1400, 420_000
_CASE = 320, 12_000


def write_report(
    folder: Path,
    facts: RunFacts,
    *,
    worst: Iterable[tuple[str, float, Pixels]] = (),
    best: Iterable[tuple[str, float, Pixels]] = (),
    legend: Iterable[tuple[str, Color]] = (),
    errors: Iterable[HeadErrors] = (),
) -> None:
    """Write MODEL_CARD.md and report.html into a run folder that has its plots and samples.

    Args:
        folder: of the run.
        facts: what both say.
        worst: name, score and drawing of the images that went worst, the worst first.
        best: of those that went best.
        legend: name and RGB of the classes that their masks show, in the order of the classes.
        errors: how each head goes wrong.
    """
    templates = page_templates(Path(__file__).parent / "templates")
    templates.filters |= {
        "case": _case,
        "hex": _hex,
        "plot": lambda name: data_uri((folder / name).read_bytes(), "png"),
        "score": _score,
        "cell": _cell,
        "percent": lambda value: f"{100 * (value or 0):.1f}%",
    }
    shown = [(kind, _inlined(images)) for kind, images in (("Worst", worst), ("Best", best))]
    plots = _plots(folder, facts)
    content = {
        "facts": facts,
        "pictures": [group for group in shown if group[1]],
        "plots": [(title, text, data_uri((folder / name).read_bytes(), "png")) for name, title, text in plots],
        "plot_files": plots,
        "threshold_plots": _threshold_plots(folder, facts),
        "legend": [(name, _hex(color)) for name, color in legend],
        "samples": _sheet(folder / "samples.jpg"),
        "errors": list(errors),
        "front_matter": yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True).rstrip(),
        "card_classes": _for_card(facts.classes),
    }
    for name in ("MODEL_CARD.md", "report.html"):
        with atomic_write(folder / name) as file:
            file.write(templates.get_template(name).render(content).encode(errors="backslashreplace"))


def _plots(folder: Path, facts: RunFacts) -> list[tuple[str, str, str]]:
    """File, title and text of each plot that a run folder has."""
    more = {}
    if (folder / "csv").is_dir():  # it is a logger's, and a run may have another or none
        before = sorted(path.name for path in folder.glob("csv_*"))  # of a run that was resumed in its own folder
        since = f", those from before it was resumed in {listed(before)}" if before else ""
        more["curves.png"] = f" The numbers are in the folder csv{since}."
    if facts.best_threshold is not None:
        threshold, f1 = facts.best_threshold
        more["precision_recall.png"] = (
            f" Both together (F1, at IoU 0.5) are best at threshold={threshold:.2f}, where F1 is {f1:.3f}."
        )
    found = [(name, title, text) for name, (title, text) in _PLOTS.items() if (folder / name).is_file()]
    return [(name, title, text + more.get(name, "")) for name, title, text in found]


def _threshold_plots(folder: Path, facts: RunFacts) -> list[str | None]:
    """Of each head for boxes, a data URI; None where there is no plot."""
    files = [folder / head.head / "thresholds.png" for head in facts.thresholds]
    return [data_uri(file.read_bytes(), "png") if file.is_file() else None for file in files]


def _front_matter(facts: RunFacts) -> dict[str, Any]:
    """What the hub sorts by; its scores too, as its model-index wants them."""
    task = HUB_TASKS.get(facts.task)
    scores = [score for score in facts.scores if score.value is not None]
    results = [
        {"type": _METRICS.get(score.name, score.name), "name": score.name, "value": round(score.value or 0.0, 4)}
        for score in scores
    ]
    made: dict[str, Any] = {"license": facts.license, "library_name": "mnv2dense"}
    if task:
        made["pipeline_tag"] = task
    backbone = facts.name.partition(" ")[0]  # a name begins with it
    is_ours = backbone in {kind.__name__ for kind in BACKBONES}
    made["tags"] = ["mnv2dense", *([backbone.lower()] if is_ours else []), "pytorch", facts.task]
    made["metrics"] = list(dict.fromkeys(_METRICS[score.name] for score in scores if score.name in _METRICS))
    if task and results:
        result = {
            "task": {"type": task},
            "dataset": {"type": facts.data_name.lower(), "name": facts.data_name},
            "metrics": results,
        }
        made["model-index"] = [{"name": facts.name, "results": [result]}]
    return made


def _for_card(classes: tuple[ClassScore, ...]) -> list[ClassScore]:
    """All of them, or the best and the worst: a thousand rows are no card."""
    if len(classes) <= _MOST_CARD_CLASSES:
        return list(classes)
    ranked = sorted((row for row in classes if row.value is not None), key=lambda row: -(row.value or 0))
    half = _MOST_CARD_CLASSES // 2
    return [*ranked[:half], *ranked[half:][-half:]]


def _inlined(images: Iterable[tuple[str, float, Pixels]]) -> list[tuple[str, float, str]]:
    return [
        (name, score, jpeg_uri(drawn, width=_IMAGE_WIDTH, most_bytes=_IMAGE_BYTES)) for name, score, drawn in images
    ]


def _case(picture: Pixels, two_panels: bool) -> str:
    width, most_bytes = _CASE
    return jpeg_uri(picture, width=width * (1 + two_panels), most_bytes=most_bytes * (1 + two_panels))


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _sheet(path: Path) -> str | None:
    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as sheet:
        return jpeg_uri(np.asarray(sheet.convert("RGB")), width=_SHEET_WIDTH, most_bytes=_SHEET_BYTES)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """Text of anybody's making within a line or table of Markdown: nothing in it is markup."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))
