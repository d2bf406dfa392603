from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from mnv2dense.types import IGNORE_LABEL, Classification, Detections, JointResult, Segmentation
from mnv2dense.visualization.draw import (
    class_color,
    contact_sheet,
    draw_classes,
    draw_detections,
    save_image,
)
from mnv2dense.visualization.masks import draw_masks, save_labels
from mnv2dense.visualization.palettes import legend_of
from mnv2dense.visualization.results import classes_of, draw_result, draw_truth_beside, masks_together

Pixels = npt.NDArray[np.uint8]
GRAY = (100, 100, 100)


def plain(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), GRAY, np.uint8)


def found(*rows: tuple[list[float], float, int], names: tuple[str, ...] = ("cat", "dog")) -> Detections:
    """(xyxy, score, label) each."""
    return Detections(
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in rows], dtype=torch.float32),
        torch.tensor([label for _, _, label in rows], dtype=torch.int64),
        names,
    )


def pixels_of(image: Pixels, color: tuple[int, int, int]) -> npt.NDArray[np.bool]:
    return np.asarray((image == np.array(color)).all(axis=2))


def changed(image: Pixels) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is not gray any more, the last two exclusive."""
    rows, columns = np.nonzero(~pixels_of(image, GRAY))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_box_runs_along_the_inside_of_its_edges_in_the_colour_of_its_class() -> None:
    image = draw_detections(plain(100, 100), found(([20, 40, 80, 90], 0.9, 1)))
    edge = class_color(1)
    for x, y in ((20, 60), (79, 60), (50, 89), (79, 40), (20, 89)):
        assert tuple(image[y, x]) == edge
    for x, y in ((19, 60), (80, 60), (50, 90), (21, 60), (78, 60), (50, 88)):
        assert tuple(image[y, x]) == GRAY


def test_the_tag_stands_on_the_box() -> None:
    image = draw_detections(plain(200, 200), found(([20, 100, 180, 190], 0.9, 0)))
    left, top, _, _ = changed(image)
    assert left == 20
    assert 80 < top < 100
    assert pixels_of(image, class_color(0))[top, 20:60].all()


@pytest.mark.parametrize("box", [[0, 0, 40, 30], [170, 0, 200, 30], [150, 190, 200, 200], [0, 180, 9, 200]])
def test_a_tag_at_the_border_is_drawn_whole_and_inside(box: list[float]) -> None:
    name = "giraffe"
    inside = draw_detections(plain(200, 200), found(([50, 100, 60, 110], 0.5, 0), names=(name,)))
    at_border = draw_detections(plain(200, 200), found((box, 0.5, 0), names=(name,)))
    letters = (pixels_of(image, (255, 255, 255)).sum() for image in (inside, at_border))
    # Both tags show the same letters: as many pure white pixels, none cut off.
    assert len(set(letters)) == 1
    assert at_border.shape == (200, 200, 3)


def test_two_tags_on_one_corner_do_not_cover_each_other() -> None:
    one = draw_detections(plain(300, 300), found(([50, 100, 250, 250], 0.9, 0)))
    two = draw_detections(plain(300, 300), found(([50, 100, 250, 250], 0.9, 0), ([50, 100, 250, 250], 0.8, 0)))
    white = (255, 255, 255)
    assert pixels_of(two, white).sum() > 1.5 * pixels_of(one, white).sum()
    assert two[pixels_of(one, white)].min() == 255  # the better one stayed where it was


def test_the_better_of_two_equal_boxes_is_on_top() -> None:
    box = [20.0, 30.0, 90.0, 90.0]
    image = draw_detections(plain(100, 100), found((box, 0.9, 1), (box, 0.8, 0)))
    assert tuple(image[60, 89]) == class_color(1)


def test_what_is_below_the_threshold_is_not_drawn_and_the_input_stays_as_it_was() -> None:
    image = plain(50, 50)
    assert changed(draw_detections(image, found(([5, 20, 40, 40], 0.5, 0)), threshold=0.5))
    assert (draw_detections(image, found(([5, 20, 40, 40], 0.49, 0)), threshold=0.5) == image).all()
    assert (image == plain(50, 50)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_tiny_and_thin_images_survive(size: tuple[int, int]) -> None:
    detections = found(([0, 0, size[1], size[0]], 0.9, 0))
    assert draw_detections(plain(*size), detections).shape == (*size, 3)
    assert draw_truth_beside(plain(*size), detections, detections).dtype == np.uint8


@pytest.mark.parametrize("box", [[-9, -9, 2, 2], [48, 48, 99, 99], [60, 60, 70, 70], [20, 20, 20, 20], [30, 30, 9, 9]])
def test_boxes_outside_empty_or_inverted_are_drawn_at_the_nearest_pixels(box: list[float]) -> None:
    image = draw_detections(plain(50, 50), found((box, 0.9, 0)))
    assert pixels_of(image, class_color(0)).any()


def test_a_region_to_ignore_is_gray_and_named_by_what_it_is() -> None:
    image = draw_detections(plain(200, 200), found(([20, 100, 180, 190], 1.0, IGNORE_LABEL)), show_scores=False)
    named = draw_detections(
        plain(200, 200), found(([20, 100, 180, 190], 1.0, 0), names=("ignored",)), show_scores=False
    )
    assert tuple(image[150, 179]) == class_color(IGNORE_LABEL)
    assert changed(image) == changed(named)


@pytest.mark.parametrize("name", ["größer", "кот", "γάτα"])
def test_letters_beyond_ascii_have_shapes_of_their_own(name: str) -> None:
    def drawn(text: str) -> Pixels:
        return draw_detections(plain(200, 200), found(([5, 100, 180, 190], 0.9, 0), names=(text,)))

    missing = "\U0010fffd" * len(name)  # a code point that no font has
    assert (drawn(name) != drawn(missing)).any()


def test_eighty_classes_have_eighty_colours() -> None:
    assert len({class_color(k) for k in range(80)}) == 80


def test_something_that_is_no_image_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[3, 8, 8\].*permute"):
        draw_detections(np.zeros((3, 8, 8), np.uint8), found())
    with pytest.raises(ValueError, match="float32"):
        draw_detections(np.zeros((8, 8, 3), np.float32), found())  # type: ignore[arg-type]


def test_truth_stands_left_and_predictions_right() -> None:
    panels = draw_truth_beside(
        plain(400, 600), found(([100, 100, 300, 300], 1.0, 0)), found(([100, 100, 300, 300], 0.8, 1))
    )
    half = panels.shape[1] // 2
    assert panels.shape[1] == 2 * 600 + 3 * 12
    assert pixels_of(panels[:, :half], class_color(0)).sum() > 400
    assert pixels_of(panels[:, half:], class_color(1)).sum() > 400
    assert not pixels_of(panels[:, half:], class_color(0)).any()


def test_a_small_image_is_enlarged_with_its_boxes_so_that_tags_leave_it_visible() -> None:
    panels = draw_truth_beside(plain(64, 64), found(([16, 32, 48, 60], 1.0, 0)), found())
    # 64 px times 5 is 320: the right edge of the box is at 12 (margin) + 48 * 5.
    column = pixels_of(panels, class_color(0))[:, 12 + 48 * 5 - 1]
    assert column.sum() >= 28 * 5


def test_a_sheet_gives_each_image_its_cell() -> None:
    red, green, blue = (np.full((*size, 3), 0, np.uint8) for size in ((10, 20), (30, 10), (5, 5)))
    red[..., 0], green[..., 1], blue[..., 2] = 255, 255, 255
    sheet = contact_sheet([red, green, blue], columns=2, gap=3)
    assert sheet.shape == (3 + 30 + 3 + 5 + 3, 3 + 20 + 3 + 10 + 3, 3)
    assert (sheet[3:13, 3:23] == red).all()
    assert (sheet[3:33, 26:36] == green).all()
    assert (sheet[36:41, 3:8] == blue).all()
    with pytest.raises(ValueError, match="0 images in 2 columns"):
        contact_sheet([])


def test_a_saved_image_reads_back_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    path = save_image(plain(4, 6), tmp_path / "größe" / "a b.png")
    with Image.open(path) as image:
        assert (np.asarray(image) == plain(4, 6)).all()
    assert [file.name for file in path.parent.iterdir()] == ["a b.png"]


def classes(*scores: float) -> Classification:
    labels = torch.arange(len(scores))
    return Classification(torch.tensor(scores), labels, tuple(f"class {k}" for k in range(len(scores))))


def test_classes_stand_one_under_the_other_likeliest_first() -> None:
    drawn = draw_classes(plain(200, 300), classes(0.6, 0.3, 0.08, 0.02))
    rows = [np.flatnonzero(pixels_of(drawn, class_color(k)).any(axis=1)) for k in range(4)]
    assert rows[0].max() < rows[1].min()
    assert rows[1].max() < rows[2].min()
    assert not rows[3].size  # three are enough


@pytest.mark.parametrize(
    ("scores", "written"), [((0.99, 0.006, 0.004), [0, 1]), ((0.004, 0.003, 0.002), [0]), ((0.5, 0.5, 0.0), [0, 1])]
)
def test_a_class_that_would_read_nought_is_left_out_but_for_the_first(
    scores: tuple[float, ...], written: list[int]
) -> None:
    drawn = draw_classes(plain(200, 300), classes(*scores))
    assert [k for k in range(3) if pixels_of(drawn, class_color(k)).any()] == written


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (20, 20)])
def test_classes_on_tiny_images_leave_out_what_does_not_fit(size: tuple[int, int]) -> None:
    assert draw_classes(plain(*size), classes(0.9, 0.1)).shape == (*size, 3)


def test_a_result_is_drawn_as_what_it_is() -> None:
    image = plain(100, 100)
    boxes = found(([10, 40, 50, 80], 0.9, 0))
    assert (draw_result(image, boxes) == draw_detections(image, boxes)).all()
    assert (draw_result(image, classes(0.9, 0.1)) == draw_classes(image, classes(0.9, 0.1))).all()
    assert (draw_result(image, classes(0.2, 0.1), threshold=0.5) == image).all()


def test_the_class_of_a_image_stands_left_and_what_it_was_taken_for_right() -> None:
    truth = Classification(torch.ones(1), torch.tensor([1]), ("a", "b"))
    sheet = draw_truth_beside(plain(320, 320), truth, classes(0.7, 0.3))
    left, right = sheet[:, : sheet.shape[1] // 2], sheet[:, sheet.shape[1] // 2 :]
    assert pixels_of(left, class_color(1)).any()
    assert not pixels_of(left, class_color(0)).any()
    assert pixels_of(right, class_color(0)).any()


def masks(*rows: str, palette: tuple[tuple[int, int, int], ...] | None = None) -> Segmentation:
    """A digit a pixel, the class; 9 is ignored. Each pixel is 20 x 20 of the image."""
    labels = torch.tensor([[255 if c == "9" else int(c) for c in row] for row in rows], dtype=torch.uint8)
    labels = labels.repeat_interleave(20, dim=0).repeat_interleave(20, dim=1)
    return Segmentation(labels, ("background", "cat", "dog"), palette)


def test_classes_are_blended_into_the_image_and_the_background_is_left_clear() -> None:
    drawn = draw_masks(plain(20, 60), masks("019"), opacity=0.5, legend=False, outline=False)
    assert (drawn[:, :20] == GRAY).all()
    expected = [round((g + c) / 2) for g, c in zip(GRAY, class_color(0), strict=True)]
    assert np.abs(drawn[:, 20:40].astype(int) - expected).max() <= 1
    assert (drawn[:, 40:] == GRAY).all()  # what is ignored is nobody's
    framed = draw_masks(plain(20, 60), masks("019"), legend=False)
    assert (framed[:, 20] == 255).all()


def test_a_large_image_is_blended_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = masks("0129", "2019", "1111")
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    whole = draw_masks(image, labels)
    monkeypatch.setattr("mnv2dense.visualization.masks._BAND_PIXELS", 7 * 80)
    assert (draw_masks(image, labels) == whole).all()


def test_drawing_masks_takes_little_more_memory_than_the_image() -> None:
    labels = torch.zeros(2048, 2048, dtype=torch.uint8)
    image = np.zeros((2048, 2048, 3), np.uint8)
    tracemalloc.start()
    draw_masks(image, Segmentation(labels, ("background", "cat"), None), legend=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * labels.numel()  # it took 40 bytes a pixel


def test_the_data_sets_own_colours_are_taken() -> None:
    palette = ((0, 0, 0), (10, 200, 30), (240, 50, 60))
    drawn = draw_masks(plain(20, 20), masks("1", palette=palette), opacity=1.0, legend=False)
    assert (drawn == (10, 200, 30)).all()


def test_the_legend_names_what_is_there() -> None:
    image = plain(200, 300)
    labels = masks(*["1" * 15] * 5, *["2" * 15] * 5)
    with_legend = draw_masks(image, labels, outline=False)
    without = draw_masks(image, labels, outline=False, legend=False)
    changed = np.flatnonzero((with_legend != without).any(axis=(1, 2)))
    assert changed.min() > 100  # the lower left corner
    assert pixels_of(with_legend, class_color(0)).any()
    assert pixels_of(with_legend, class_color(1)).any()


def test_a_result_of_masks_takes_opacity_and_legend() -> None:
    image, labels = plain(200, 300), masks(*["1" * 15] * 10)
    drawn = draw_result(image, labels, opacity=1, legend=False)
    assert pixels_of(drawn, class_color(0)).all()
    assert (draw_result(image, labels, opacity=0, legend=False) == GRAY).all()
    assert (draw_result(image, labels, opacity=0) != GRAY).any()  # the legend


@pytest.mark.parametrize("opacity", [-0.1, 1.01, float("nan"), "half", True])
def test_an_opacity_that_is_none_is_refused_with_its_range(opacity: float) -> None:
    with pytest.raises(ValueError, match=rf"opacity={opacity}: a number from 0 .* to 1 .* 0\.55 is a good start"):
        draw_masks(plain(20, 20), masks("1"), opacity=opacity)


def test_a_legend_has_twelve_rows_at_most_the_background_none() -> None:
    names = ("background", *(f"class {number}" for number in range(1, 16)))
    labels = torch.zeros(400, 400, dtype=torch.uint8)
    for number in range(1, 16):  # 40 columns of class 1, then 20 of each
        labels[:200, 20 * number : 20 * (number + (number == 1) + 1)] = number
    drawn = draw_masks(plain(400, 400), Segmentation(labels, names), opacity=0, outline=False)
    named = [number for number in range(1, 16) if pixels_of(drawn, class_color(number - 1)).any()]
    assert len(named) == 12


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"masks of \[20, 20\] pixels for an image of \[30, 20\]"):
        draw_masks(plain(30, 20), masks("1"))


def test_label_images_keep_their_values_and_show_their_colours(tmp_path: Path) -> None:
    path = save_labels(masks("0129", palette=((0, 0, 0), (1, 2, 3), (4, 5, 6))), tmp_path / "new" / "labels.png")
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.asarray(image)[0, ::20].tolist() == [0, 1, 2, 255]
        assert np.asarray(image.convert("RGB"))[0, ::20].tolist()[:3] == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert list(path.parent.iterdir()) == [path]


def test_true_masks_stand_left_and_predicted_ones_right() -> None:
    sheet = draw_truth_beside(plain(20, 20), masks("1"), masks("2"), legend=False)
    left, right = sheet[:, : sheet.shape[1] // 2], sheet[:, sheet.shape[1] // 2 :]
    first, second = (draw_masks(plain(20, 20), masks(label), legend=False)[10, 10] for label in "12")
    assert pixels_of(left, first).any()
    assert not pixels_of(left, second).any()
    assert pixels_of(right, second).any()


@pytest.mark.parametrize(
    "save", [lambda path: save_image(plain(4, 6), path), lambda path: save_labels(masks("01"), path)]
)
def test_a_picture_that_cannot_be_saved_leaves_the_old_one_and_nothing_beside_it(
    save: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, file: IO[bytes], **options: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["out", "out.weights", "out.psd"])
def test_a_suffix_of_no_format_that_can_be_written_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{name}: the suffix names the format, as in out.jpg or .png"):
        save_image(plain(4, 6), tmp_path / name)


@pytest.mark.parametrize(("name", "longest"), [("out.jpg", "65,500"), ("out.webp", "16,383"), ("out.gif", "65,535")])
def test_an_image_too_long_for_its_format_is_named_with_one_that_takes_it(
    name: str, longest: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"{name}: 65536x1 pixels, .* has {longest} at most; save it as out\.png"):
        save_image(plain(1, 65_536), tmp_path / name)
    save_image(plain(1, 65_536), tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


AWKWARD_NAMES = [
    "\ud800",
    "a\nb",
    "a\r\n\tb",
    "\x00\x1b[31m",
    "",
    " ",
    "x" * 500,
    "\u2028",
    "$\\frac",
    "_hidden",
    "\ufeff",
    "\U0001f408",
]


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_whatever_a_class_is_called_it_is_drawn(name: str) -> None:
    image = np.full((200, 300, 3), 255, np.uint8)
    box = Detections(torch.tensor([[20.0, 40.0, 200.0, 180.0]]), torch.ones(1), torch.tensor([0]), (name,))
    classes = Classification(torch.ones(1), torch.tensor([0]), (name,))
    masks = Segmentation(torch.zeros(200, 300, dtype=torch.uint8), (name,))
    for result in (box, classes, masks):
        assert draw_result(image, result).shape == image.shape
        draw_truth_beside(image, result, result)


def test_a_long_name_is_cut_and_its_score_is_not() -> None:
    image = np.full((400, 900, 3), 255, np.uint8)
    long, short = ("x" * 500,), ("x" * 57 + "...",)
    drawn = [draw_classes(image, Classification(torch.ones(1), torch.tensor([0]), names)) for names in (long, short)]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != image).any()


def test_two_heads_of_a_kind_do_not_hide_each_others_names() -> None:
    one = Segmentation(torch.ones(200, 300, dtype=torch.uint8), ("background", "road"))
    other = Segmentation(torch.ones(200, 300, dtype=torch.uint8), ("background", "roof"))
    scene, light = classes(0.9, 0.1), Classification(torch.tensor([0.3, 0.2]), torch.tensor([1, 0]), ("day", "night"))
    both = JointResult({"a": one, "b": other, "scene": scene, "light": light})
    drawn = draw_result(plain(200, 300), both, threshold=0.5)
    for left_out in both:
        rest = JointResult({name: part for name, part in both.parts.items() if name != left_out})
        assert (draw_result(plain(200, 300), rest, threshold=0.5) != drawn).any(), left_out
    # The likeliest class of each is told however unsure it is, and one under the other.
    tags = draw_classes(plain(200, 300), [scene, light])
    assert (tags[:, :40] != draw_classes(plain(200, 300), scene)[:, :40]).any()
    assert list(both.above(0.5)["light"].names) == ["night", "day"]  # type: ignore[union-attr]
    legend = [name for name, _ in legend_of(masks_together({"a": one, "b": other})[0], {0, 1, 2, 3})]
    assert legend == ["a/road", "b/roof"]
    assert classes_of(both) == {1, 3}
