"""How an image of shapes is drawn: textures, outlines, shadows, and which shape each pixel shows."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
import numpy.typing as npt

SHAPE_CLASSES = ("circle", "square", "triangle", "star", "ring", "cross")
"""The six classes, in label order."""

# Of every shape at least this part shows, inside the frame and not behind others: it can be recognised.
_LEAST_VISIBLE = 0.75

Array = npt.NDArray[np.float32]


def draw_image(rng: np.random.Generator, size: int) -> tuple[npt.NDArray[np.uint8], list[int], npt.NDArray[np.uint8]]:
    """Draw 0 to 8 shapes, 28 to 60% of the shorter side large, turned, partly over each other.

    Args:
        rng: decides everything.
        size: shorter side in pixels; the longer one is up to a third longer.

    Returns:
        uint8 [H, W, 3], RGB; the label of each of the N shapes; uint8 [H, W], the number 1..N of the shape
        that a pixel shows, 0 for the background.
    """
    longer = round(size * rng.uniform(1, 4 / 3))
    height, width = (size, longer) if rng.random() < 0.7 else (longer, size)
    canvas = _background(rng, height, width)
    owners = np.zeros((height, width), np.uint8)
    labels: list[int] = []
    areas: list[int] = []
    wanted = int(rng.choice(9, p=[0.03, 0.07, 0.1, 0.15, 0.15, 0.15, 0.15, 0.1, 0.1]))
    for _ in range(4 * wanted):  # tries: what would hide too much of a shape is put elsewhere
        if len(labels) == wanted:
            break
        label = int(rng.integers(len(SHAPE_CLASSES)))
        radius = size / 2 * math.exp(rng.uniform(math.log(0.28), math.log(0.6)))
        cover = _cover(rng, label, radius)
        centre_x, centre_y = rng.uniform(0.6 * radius, np.array([width, height]) - 0.6 * radius)
        spot = _Spot(round(centre_x), round(centre_y), len(cover), height, width)
        solid = cover > 0.5
        trial = owners.copy()
        trial[spot.frame][solid[spot.patch]] = len(labels) + 1
        shown = np.bincount(trial.ravel(), minlength=len(labels) + 2)[1:]
        if (shown < _LEAST_VISIBLE * np.array([*areas, solid.sum()])).any():
            continue
        _paint(rng, canvas, cover, spot, radius)
        owners = trial
        labels.append(label)
        areas.append(int(solid.sum()))
    canvas += np.float32(rng.uniform(2, 9)) * rng.standard_normal((height, width, 1), np.float32)
    return canvas.clip(0, 255).astype(np.uint8), labels, owners


class _Spot:
    """Where a square patch meets the frame: the rows and columns of each that coincide."""

    def __init__(self, x: int, y: int, side: int, height: int, width: int) -> None:
        left, top = x - side // 2, y - side // 2
        rows = slice(max(0, top), min(height, top + side))
        columns = slice(max(0, left), min(width, left + side))
        self.frame = rows, columns
        self.patch = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )


def _cover(rng: np.random.Generator, label: int, radius: float) -> Array:
    """How much of each pixel the shape covers, 0..1, [side, side], with room for its shadow."""
    import cv2

    side = 2 * math.ceil(1.35 * radius + 4)
    angle, stretch = rng.uniform(0, 2 * math.pi), rng.uniform(0.9, 1.1)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    contours = [(outline * [stretch, 1 / stretch] @ turn * radius + side / 2) for outline in _outlines(rng, label)]
    # fillPoly counts in 1/16 pixels; a contour inside another is a hole.
    mask = np.zeros((side, side), np.uint8)
    points = [np.round(contour * 16).astype(np.int32) for contour in contours]
    cv2.fillPoly(mask, points, (255,), lineType=cv2.LINE_AA, shift=4)
    return np.asarray(mask, np.float32) / np.float32(255)


def _outlines(rng: np.random.Generator, label: int) -> list[npt.NDArray[np.float64]]:
    """Closed contours [n, 2] of a shape within the unit circle."""

    def around(count: int) -> npt.NDArray[np.float64]:
        turns = np.arange(count) * (2 * math.pi / count)
        return np.stack([np.cos(turns), np.sin(turns)], axis=1)

    name = SHAPE_CLASSES[label]
    if name == "circle":
        return [0.9 * around(64)]
    if name == "ring":
        return [0.95 * around(64), 0.95 * rng.uniform(0.5, 0.65) * around(64)]
    if name == "square":
        return [around(4)]
    if name == "triangle":
        return [around(3)]
    if name == "star":
        star = around(10)
        star[1::2] *= rng.uniform(0.4, 0.5)
        return [star]
    arm = rng.uniform(0.26, 0.34)
    quarter = np.array([[0.95, -arm], [0.95, arm], [arm, arm]])
    return [np.concatenate([quarter @ np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))])]


def _paint(rng: np.random.Generator, canvas: Array, cover: Array, spot: _Spot, radius: float) -> None:
    """Lay a textured shape and its soft shadow onto the canvas."""
    import cv2

    behind = canvas[spot.frame]
    surroundings = behind.mean(axis=(0, 1))
    main, second = _vivid(rng), _vivid(rng)
    for _ in range(8):  # a shape of the background's colour would be found by its shadow only
        if np.abs(main - surroundings).sum() > 170:
            break
        main = _vivid(rng)
    texture = _texture(rng, main, second, *cover.shape, period=rng.uniform(0.25, 0.7) * radius)
    slope = np.linspace(1.12, 0.88, len(cover), dtype=np.float32)  # lit from the top left
    texture *= (slope[:, None] * slope)[..., None]
    drop = max(1, round(0.06 * radius))
    shadow = cv2.GaussianBlur(np.roll(cover, (drop, drop), (0, 1)), (0, 0), 1 + 0.06 * radius)
    behind *= 1 - rng.uniform(0.15, 0.45) * shadow[spot.patch][..., None]
    behind += cover[spot.patch][..., None] * (texture[spot.patch] - behind)


def _background(rng: np.random.Generator, height: int, width: int) -> Array:
    """Muted colours: a slope, a texture or clouds, with a few stray lines."""
    import cv2

    first, second = _muted(rng), _muted(rng)
    canvas = _texture(rng, first, second, height, width, period=rng.uniform(0.08, 0.5) * height)
    cells = int(rng.integers(2, 7)), int(rng.integers(2, 9))
    clouds = rng.uniform(-1, 1, (*cells, 1)) + 0.4 * rng.uniform(-1, 1, (*cells, 3))  # more light than colour
    spread = np.float32(rng.uniform(5, 40))
    canvas += spread * cv2.resize(clouds.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 6)):
        start, end = rng.uniform(0, [width, height], (2, 2)).astype(int).tolist()
        colour = (canvas[start[1], start[0]] + rng.uniform(-80, 80) + rng.uniform(-25, 25, 3)).tolist()
        cv2.line(canvas, start, end, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    return canvas


def _texture(rng: np.random.Generator, main: Array, second: Array, height: int, width: int, *, period: float) -> Array:
    """Two colours in stripes, checks, a slope, speckles or nearly plain, [H, W, 3]."""
    import cv2

    angle = rng.uniform(0, math.pi)
    ys, xs = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    xs, ys = xs * (2 * math.pi / max(period, 4.0)), ys * (2 * math.pi / max(period, 4.0))
    along = xs * math.cos(angle) + ys * math.sin(angle)
    kind = rng.choice(["stripes", "checks", "slope", "speckles", "plain"])
    mix: npt.NDArray[Any]
    if kind == "stripes":
        mix = 0.5 + 2 * np.sin(along)
    elif kind == "checks":
        across = ys * math.cos(angle) - xs * math.sin(angle)
        mix = 0.5 + 3 * np.sin(along) * np.sin(across)
    elif kind == "slope":
        mix = (along - along.min()) / (along.max() - along.min())
    elif kind == "speckles":
        cells = max(2, round(3 * height / period)), max(2, round(3 * width / period))
        mix = np.asarray(cv2.resize(rng.uniform(-1.5, 1.5, cells).astype(np.float32), (width, height)), np.float32)
    else:
        mix = np.full((height, width), 0.1, np.float32)
    share = np.float32(rng.uniform(0.4, 1.0)) * mix.clip(0, 1)
    return np.asarray(main + share[..., None] * (second - main), np.float32)


def _vivid(rng: np.random.Generator) -> Array:
    return _colour(rng.random(), rng.uniform(0.45, 1.0), rng.uniform(0.45, 1.0))


def _muted(rng: np.random.Generator) -> Array:
    return _colour(rng.random(), rng.uniform(0.0, 0.35), rng.uniform(0.2, 0.9))


def _colour(hue: float, saturation: float, value: float) -> Array:
    """RGB, 0..255."""
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255
