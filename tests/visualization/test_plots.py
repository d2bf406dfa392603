from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense.visualization import plots
from mnv2dense.visualization.draw import class_color
from mnv2dense.visualization.plots import plot_confusion, plot_curves, plot_precision_recall


def colors_in(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        return {tuple(color) for color in np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).tolist()}


def test_curves_fill_two_panels_and_survive_nan_and_a_single_epoch(tmp_path: Path) -> None:
    history = {
        "train/loss": [(0, 3.0), (1, float("nan")), (2, 2.0)],
        "val/AP50": [(0, 0.1), (2, 0.4)],
        "val/AP": [(2, 0.2)],
    }
    path = plot_curves(history, tmp_path / "curves.png")
    with Image.open(path) as image:
        assert image.size == (1488, 576)
    assert {class_color(0), class_color(1)} <= colors_in(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_score_in_another_unit_has_an_axis_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, list[str]]] = []

    def look(figure: Any, path: str | Path) -> Path:  # noqa: ANN401 - matplotlib's
        for axis in figure.axes:
            drawn.append((axis.get_title(loc="left"), [text.get_text() for text in axis.get_legend().get_texts()]))
        return Path(path)

    monkeypatch.setattr(plots, "save_figure", look)
    history = {
        "train/loss": [(1, 3.0)],
        "val/AP": [(1, 0.25), (2, 0.5)],
        "val/count_error": [(1, 0.75), (2, 12.5)],
        "val/AP50": [(2, 1.0)],
        "val/wrong": [(1, 0.25), (2, 0.5)],
    }
    plot_curves(history, tmp_path / "curves.png", lower_is_better=["val/count_error", "val/wrong"])
    ap, ap50, wrong = "best 0.500 at epoch 2", "best 1.000 at epoch 2", "best 0.250 at epoch 1"
    assert drawn == [
        ("Loss", ["train/loss, last 3"]),
        ("Score", [f"val/AP, {ap}", f"val/AP50, {ap50}", f"val/wrong, {wrong}"]),
        ("count_error", ["val/count_error, best 0.75 at epoch 1"]),
    ]


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"val/AP": [(0, float("nan"))]}])
def test_a_run_without_values_still_gets_its_plot(tmp_path: Path, history: dict[str, list[tuple[int, float]]]) -> None:
    with Image.open(plot_curves(history, tmp_path / "curves.png")) as image:
        assert image.size == (744, 576)


@pytest.mark.parametrize("classes", [0, 3, 80])
def test_precision_recall_is_plotted_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    recall = np.linspace(0, 1, 101)
    per_class = {f"$5 кот {k}": 1 - recall ** (k + 1) for k in range(classes)}
    mean = {"IoU 0.50": 1 - recall, "IoU 0.75": 1 - recall**2} if classes else {}
    path = plot_precision_recall(recall, mean, per_class, tmp_path / "pr.png")
    with Image.open(path) as image:
        assert image.size == (1488, 576)
    assert (class_color(0) in colors_in(path)) == (classes > 0)


def test_plots_leave_pyplot_and_importing_leaves_the_drawing_libraries_alone() -> None:
    code = """
import sys, tempfile
import mnv2dense.visualization.plots
assert not {"matplotlib", "PIL", "cv2"} & set(sys.modules), "imported too early"
with tempfile.TemporaryDirectory() as folder:
    mnv2dense.visualization.plots.plot_curves({"loss": [(0, 1.0)]}, folder + "/curves.png")
assert "matplotlib.pyplot" not in sys.modules, "global state"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("classes", [1, 2, 40])
def test_confusion_is_plotted_for_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    counts = np.diag(np.full(classes, 9)) + np.eye(classes, k=1, dtype=np.int64)
    path = plot_confusion(counts, [f"$ kind {k}" for k in range(classes)], tmp_path / "confusion.png")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    assert (pixels[:, 2] - pixels[:, 0] > 60).any()  # the diagonal's blue


def test_a_class_without_images_has_an_empty_row(tmp_path: Path) -> None:
    def blue(*images: int) -> int:
        path = plot_confusion(np.diag(images), ["a", "b", "c"], tmp_path / "confusion.png")
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
        return int((pixels[:, 2] - pixels[:, 0] > 60).sum())

    assert blue(0, 0, 0) == 0
    assert blue(9, 0, 9) == pytest.approx(2 / 3 * blue(9, 9, 9), rel=0.02)


def test_a_plot_that_cannot_be_saved_leaves_the_old_one_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    def full(self: Figure, file: IO[bytes], **options: object) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = plot_curves({"loss": [(0, 1.0)]}, tmp_path / "curves.png")
    before = path.read_bytes()
    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        plot_curves({"loss": [(0, 2.0)]}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_whatever_classes_are_called_they_are_plotted(tmp_path: Path) -> None:
    names = ["\ud800", "a\nb", "\x00\x1b[31m", "", "x" * 500, "$\\frac", "_hidden"]
    recall = np.linspace(0, 1, 11)
    plot_precision_recall(recall, {"mean": recall}, dict.fromkeys(names, recall), tmp_path / "curve.png")
    plot_confusion(np.eye(len(names), dtype=np.int64), names, tmp_path / "confusion.png")
    for name in ("curve.png", "confusion.png"):
        with Image.open(tmp_path / name) as image:
            assert image.width > 400
