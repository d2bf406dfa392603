"""Results on pictures, and the plots of a run; drawn off screen, saved as PNG."""

from __future__ import annotations

import colorsys
import functools
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnv2dense.types import Detections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from PIL import ImageDraw, ImageFont

    Picture = npt.NDArray[np.uint8]
    Color = tuple[int, int, int]

# Okabe and Ito's colours, told apart with any colour vision (jfly.uni-koeln.de/color); a wine red stands in
# for their yellow, which is lost as a line on white.
_FIRST_COLORS = ("0072b2", "e69f00", "009e73", "cc79a7", "d55e00", "56b4e9", "882255")
_GOLDEN_RATIO = 0.618034
_INK, _FAINT_INK, _PAPER = "#22272e", "#8b949e", "#ffffff"


def class_color(label: int) -> Color:
    """RGB of a class, the same in every picture; grey for a region to ignore (a negative label)."""
    if label < 0:
        return (150, 150, 150)
    if label < len(_FIRST_COLORS):
        red, green, blue = bytes.fromhex(_FIRST_COLORS[label])
        return (red, green, blue)
    # Steps of the golden ratio never come close to an earlier hue; lightness tells apart what hue cannot.
    lightness = (0.42, 0.56, 0.3)[label % 3]
    rgb = colorsys.hls_to_rgb(label * _GOLDEN_RATIO % 1.0, lightness, 0.75)
    return (round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255))


def draw_detections(
    image: Picture, detections: Detections, *, threshold: float = 0.0, show_scores: bool = True
) -> Picture:
    """Boxes with a tag each ("dog 0.87") in the colour of their class, scaled to the picture.

    A tag that is wider than the picture even in the smallest letters is left out.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        detections: in pixels of ``image``. A label below 0 is drawn grey and called "ignored".
        threshold: lowest score to draw, 0..1.
        show_scores: whether tags end in the score; off for ground truth.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: ``image`` is not uint8 [H, W, 3].
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(_checked(image))
    pen = ImageDraw.Draw(canvas)
    shown = detections.above(threshold).to("cpu")
    boxes, labels, scores = shown.boxes.tolist(), shown.labels.tolist(), shown.scores.tolist()
    side = math.sqrt(canvas.width * canvas.height)
    line = max(1, round(side / 220))
    letters = side / (30 if len(shown) <= 12 else 40)  # in a crowd, full-sized tags would hide the picture

    for box, label in reversed(list(zip(boxes, labels, strict=True))):  # the best ends up on top
        left, top, right, bottom = _pixels(box, canvas.width, canvas.height)
        pen.rectangle((left, top, right, bottom), outline=class_color(label), width=line)

    taken: list[tuple[int, int, int, int]] = []
    for box, label, score in zip(boxes, labels, scores, strict=True):  # the best chooses its place first
        name = shown.class_names[label] if label >= 0 else "ignored"
        text = f"{name} {score:.2f}" if show_scores else name
        _draw_tag(pen, text, class_color(label), _pixels(box, canvas.width, canvas.height), taken, letters)
    return np.asarray(canvas, dtype=np.uint8).copy()


def draw_truth_beside(image: Picture, truth: Detections, detections: Detections, *, threshold: float = 0.3) -> Picture:
    """Two titled panels: the truth on the left, what was found on the right. Small pictures are enlarged.

    Args:
        image: uint8 [H, W, 3], RGB.
        truth: in pixels of ``image``; its scores are not shown. A label below 0 is a region to ignore.
        detections: in pixels of ``image``.
        threshold: lowest score of a detection to draw, 0..1.

    Returns:
        uint8 [H', W', 3], the panels with a white margin.
    """
    from PIL import Image

    height, width = _checked(image).shape[:2]
    # Below some 320 px a tag hides what it names; beyond 1280 px nobody needs help to see.
    factor = max(1, min(math.ceil(320 / min(height, width)), 1280 // max(height, width)))
    large = np.asarray(Image.fromarray(image).resize((width * factor, height * factor)), dtype=np.uint8)

    def enlarged(found: Detections) -> Detections:
        return Detections(found.boxes * factor, found.scores, found.labels, found.class_names)

    panels = (
        draw_detections(large, enlarged(truth), show_scores=False),
        draw_detections(large, enlarged(detections), threshold=threshold),
    )
    titles = ("ground truth", f"predictions (score ≥ {threshold:.2f})")
    return contact_sheet([_titled(*panel) for panel in zip(panels, titles, strict=True)], columns=2)


def contact_sheet(images: Sequence[Picture], *, columns: int = 2, gap: int = 12) -> Picture:
    """Pictures in a grid on white, row by row, each in its own size at the top left of its cell.

    Args:
        images: uint8 [H, W, 3] each, of any sizes.
        columns: pictures in a row.
        gap: pixels between pictures and around them.

    Raises:
        ValueError: there are no pictures, or ``columns`` is below 1.
    """
    if not images or columns < 1:
        raise ValueError(f"{len(images)} pictures in {columns} columns make no sheet; give at least one of each.")
    columns = min(columns, len(images))
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    widths = [max(_checked(image).shape[1] for image in images[k::columns]) for k in range(columns)]
    heights = [max(image.shape[0] for image in row) for row in rows]
    sheet = np.full((sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (columns + 1), 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for k, image in enumerate(row):
            height, width = image.shape[:2]
            top = sum(heights[:i]) + gap * (i + 1)
            left = sum(widths[:k]) + gap * (k + 1)
            sheet[top : top + height, left : left + width] = image
    return sheet


def save_picture(image: Picture, path: str | Path) -> Path:
    """Write uint8 [H, W, 3] in the format of the path's suffix; a reader never sees half a file."""
    from PIL import Image

    path = Path(path)
    partial = _partial(path)
    Image.fromarray(_checked(image)).save(partial, quality=92)
    os.replace(partial, path)  # noqa: PTH105 - Path.replace is the same call; this name says it is atomic
    return path


def plot_curves(history: Mapping[str, Sequence[tuple[int, float]]], path: str | Path) -> Path:
    """Losses on the left, scores on the right, over epochs; the best epoch of each score is marked.

    Args:
        history: name -> (epoch, value) in order of epochs. Names that contain "loss" are losses; values that
            are not finite are left out.
        path: PNG to write.
    """
    finite = {
        name: [(epoch, value) for epoch, value in points if math.isfinite(value)] for name, points in history.items()
    }
    losses = {name: points for name, points in finite.items() if points and "loss" in name.lower()}
    scores = {name: points for name, points in finite.items() if points and "loss" not in name.lower()}
    panels = [panel for panel in ((losses, "Loss"), (scores, "Score")) if panel[0]]
    figure, axes = _figure(max(1, len(panels)))
    for axis, (curves, title) in zip(axes, panels, strict=False):
        _style(axis, title=title, x="epoch", y="")
        for k, (name, points) in enumerate(curves.items()):
            epochs, values = zip(*points, strict=True)
            color = _hex(k)
            label = f"{_plain(name)}, last {values[-1]:.3g}"
            if title == "Score":
                best = max(range(len(values)), key=values.__getitem__)
                label = f"{_plain(name)}, best {values[best]:.3f} at epoch {epochs[best]}"
                axis.plot(epochs[best], values[best], "o", color=color, markersize=7, zorder=3)
            marker = "." if len(points) == 1 else ""  # a line needs two points to be seen
            axis.plot(epochs, values, color=color, linewidth=1.8, marker=marker, label=label)
        if title == "Score":
            axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    if not panels:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "no values yet", ha="center", color=_FAINT_INK, transform=axes[0].transAxes)
    return _save(figure, path)


def plot_precision_recall(
    recall: Sequence[float] | npt.NDArray[np.float64],
    mean: Mapping[str, Sequence[float] | npt.NDArray[np.float64]],
    per_class: Mapping[str, Sequence[float] | npt.NDArray[np.float64]],
    path: str | Path,
) -> Path:
    """Precision over recall: averaged over classes on the left, per class at IoU 0.5 on the right.

    Takes what :meth:`mnv2dense.metrics.coco_map.CocoMeanAP.precision_recall` gives:
    ``plot_precision_recall(*metric.precision_recall(), path)``.

    Args:
        recall: [R], 0..1.
        mean: curve name -> precision [R].
        per_class: class name -> precision [R]. Beyond 20 classes only the best and the worst are named.
        path: PNG to write.
    """
    figure, (left, right) = _figure(2)
    _style(left, title="All classes", x="recall", y="precision")
    for k, (name, precision) in enumerate(mean.items()):
        left.plot(recall, precision, color=_hex(k), linewidth=2, label=f"{name}, AP {np.mean(precision):.3f}")
    _style(right, title="Per class, IoU 0.50", x="recall", y="precision")
    ranked = sorted(per_class, key=lambda name: -float(np.mean(per_class[name])))
    named = ranked if len(ranked) <= 20 else [*ranked[:6], *ranked[-6:]]
    labels = {name: k for k, name in enumerate(named if len(ranked) > 20 else per_class)}
    for name in ranked:
        if name not in labels:
            right.plot(recall, per_class[name], color="#d0d7de", linewidth=0.8, zorder=1)
    for name in named:
        label = f"{_plain(name)}  {np.mean(per_class[name]):.2f}"
        right.plot(recall, per_class[name], color=_hex(labels[name]), linewidth=1.4, label=label)
    for axis in (left, right):
        axis.set(xlim=(0, 1), ylim=(0, 1.02))
    if mean:
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    if named:
        title = "class, AP50" if len(named) == len(ranked) else f"best and worst 6 of {len(ranked)}, AP50"
        legend = right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, title=title)
        legend.get_title().set_fontsize(8)
    return _save(figure, path)


def _checked(image: Picture) -> Picture:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(
            f"a picture is {image.dtype} {list(image.shape)}, but must be uint8 [H, W, 3]; "
            "for a tensor [3, H, W] use tensor.permute(1, 2, 0).cpu().numpy()."
        )
    return image


def _pixels(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """The first and last column and row that a box covers, at least one pixel, within the picture."""
    left, top = (min(max(round(low), 0), size - 1) for low, size in ((box[0], width), (box[1], height)))
    right, bottom = (min(max(round(high), 1), size) - 1 for high, size in ((box[2], width), (box[3], height)))
    return left, top, max(right, left), max(bottom, top)


def _draw_tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    color: Color,
    box: tuple[int, int, int, int],
    taken: list[tuple[int, int, int, int]],
    size: float,
) -> None:
    """Write ``text`` on a filled tag at a corner of ``box``, off the tags in ``taken`` if there is room."""
    picture_width, picture_height = pen.im.size
    for points in range(min(max(round(size), 10), 40), 7, -1):
        font = _font(points)
        ascent, descent = font.getmetrics()
        padding = max(2, points // 5)
        width = math.ceil(font.getlength(text)) + 2 * padding
        height = ascent + descent
        if width <= picture_width and height <= picture_height:
            break
    else:
        return
    left, top, right, bottom = box
    corners = (
        (left, top - height),  # above the box, as readers expect
        (left, top),
        (right - width + 1, top - height),
        (left, bottom + 1),
        (right - width + 1, bottom - height + 1),
        (left, bottom - height + 1),
    )
    places = []
    for x, y in corners:
        x, y = min(max(x, 0), picture_width - width), min(max(y, 0), picture_height - height)
        places.append((x, y, x + width, y + height))
    place = min(places, key=lambda candidate: sum(_overlap(candidate, other) for other in taken))
    taken.append(place)
    pen.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=color)
    pen.text((place[0] + padding, place[1]), text, font=font, fill=_text_color(color), anchor="la")


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _text_color(background: Color) -> Color:
    """Black or white, whichever stands out more (WCAG 2.1, relative luminance and contrast ratio)."""
    red, green, blue = (((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)  # where both contrasts are equal


@functools.lru_cache(maxsize=64)
def _font(points: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows Latin, Greek, Cyrillic, Arabic and more."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), points)


def _titled(panel: Picture, title: str) -> Picture:
    from PIL import Image, ImageDraw

    points = min(max(round(math.sqrt(panel.shape[0] * panel.shape[1]) / 26), 12), 32)
    strip = round(points * 1.6)
    canvas = Image.new("RGB", (panel.shape[1], panel.shape[0] + strip), _PAPER)
    canvas.paste(Image.fromarray(panel), (0, strip))
    ImageDraw.Draw(canvas).text((0, 0), title, font=_font(points), fill=_INK, anchor="la")
    return np.asarray(canvas, dtype=np.uint8).copy()


def _figure(columns: int) -> tuple[Any, Any]:
    # The object API: pyplot would keep global state and might pick a backend that wants a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)  # inches; the default glues text to the edge
    figure = Figure(figsize=(6.2 * columns, 4.8), dpi=120, layout=layout, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _style(axis: Any, *, title: str, x: str, y: str) -> None:  # noqa: ANN401 - matplotlib comes untyped
    axis.set_title(title, loc="left", fontsize=12, color=_INK, pad=10)
    axis.set_xlabel(x, color=_INK)
    axis.set_ylabel(y, color=_INK)
    axis.grid(color="#e6e9ed", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=_FAINT_INK, labelcolor=_INK, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_FAINT_INK)


def _hex(label: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_color(label))


def _plain(name: str) -> str:
    """A class may be called "$5 or $10": matplotlib must not read a formula there."""
    return name.replace("$", r"\$")


def _partial(path: Path) -> Path:
    """Beside the target, so that the last step is a rename; the suffix stays, for it names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".partial-{os.getpid()}-{path.name}")


def _save(figure: Any, path: str | Path) -> Path:  # noqa: ANN401
    path = Path(path)
    partial = _partial(path)
    figure.savefig(partial, format="png")
    os.replace(partial, path)  # noqa: PTH105
    return path
