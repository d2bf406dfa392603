"""The page checks itself at the first start: a quiet line where all is right, and what is wrong in words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnv2dense.runtimes.stored_constants import checksums
from tests.helpers.browser import Browser, served

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

SAID = (
    "const line = document.querySelector('#exam');"
    "return [line.dataset.state, [...line.children].map((each) => each.textContent), line.title]"
)


def verdict(browser: Browser, url: str) -> tuple[str, list[str], str]:
    """Of a page: how it went, its sentences, and what the pointer is told."""
    browser.open(url)
    browser.wait_for("return document.querySelector('#exam').dataset.state !== undefined")
    state, lines, details = browser.run(SAID)
    return state, lines, details


def test_a_right_file_gets_a_quiet_line_and_is_not_examined_again(browser: Browser, shapes_page: Path) -> None:
    with served(shapes_page) as url:
        state, lines, details = verdict(browser, url)
        assert (state, lines) == ("equal", ["Checked on this device: as in Python"])
        assert details.startswith("3 pictures, off by: boxes ")
        assert verdict(browser, url) == ("equal", lines, "")
        assert browser.remarks() == []


def swap_channels(name: str, values: Floats) -> Floats:
    return np.flip(values, axis=1) if name.endswith("stem.0.weight") else values


def leave_out_normalisation(name: str, values: Floats) -> Floats:
    if name.endswith("normalize.scale"):
        return np.ones_like(values)
    return np.zeros_like(values) if name.endswith("normalize.shift") else values


def round_by_tensor(name: str, values: Floats) -> Floats:
    if values.ndim != 4 or "normalize" in name:
        return values
    step = np.abs(values).max() / 127
    return np.asarray(np.round(values / step) * step, np.float32)


def flip_one_bit(name: str, values: Floats) -> Floats:
    """Of a number in the middle, which makes it 2**32 times as large or as small."""
    if not name.endswith("backbone.blocks.1.expansion.0.weight"):
        return values
    changed = values.flatten()
    changed.view(np.uint32)[len(changed) // 2] ^= 1 << 28
    return changed.reshape(values.shape)


@pytest.mark.parametrize(
    ("change", "cause", "step"),
    [
        (swap_channels, "channels swapped, that is, red and blue are swapped", "Give RGB"),
        (leave_out_normalisation, "not normalised, that is, pixels reach the network without", "Keep it in the file"),
        (
            round_by_tensor,
            "one scale per tensor, that is, weights were quantised with one scale",
            "Quantise with a scale",
        ),
        (flip_one_bit, "weights changed after export: whole.model.backbone.blocks.1.expansion.0.weight.", "Copy the"),
    ],
)
def test_a_fault_is_named_with_what_to_do(
    browser: Browser, shapes_page: Path, tmp_path: Path, change: Callable[[str, Floats], Floats], cause: str, step: str
) -> None:
    shutil.copytree(shapes_page, tmp_path / "page")
    rewrite(tmp_path / "page" / "model.onnx", change)
    with served(tmp_path / "page") as url:
        state, lines, _ = verdict(browser, url)
    assert state == "differs"
    assert lines[0].startswith("This model answers otherwise here than in Python: ")
    assert lines[1].startswith(f"Likely cause: {cause}")
    assert lines[2].startswith(step)


def rewrite(file: Path, change: Callable[[str, Floats], Floats]) -> None:
    """Change the numbers that a file stores, by their names."""
    import onnx

    model = onnx.load(file)
    for constant in model.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(constant)
            constant.raw_data = np.ascontiguousarray(change(constant.name, values), np.float32).tobytes()
    file.write_bytes(model.SerializeToString())


def test_what_is_stored_has_pythons_checksums(browser: Browser, shapes_page: Path) -> None:
    with served(shapes_page) as url:
        browser.open(url)
        found = browser.driver.execute_async_script(
            """
            const load = (name) => new URL(name, location.href);
            const file = fetch(load("model.onnx")).then((response) => response.arrayBuffer());
            Promise.all([import(load("constants.js")), file]).then(([{ checksums, crc32 }, bytes]) => {
              const whole = new Uint8Array(bytes);
              arguments[0]([
                Object.fromEntries(checksums(whole)),
                checksums(whole.subarray(0, whole.length / 2)).size,
                crc32(new TextEncoder().encode("123456789")),
              ]);
            });
            """
        )
    stored, of_a_torn_file, check_value = found
    assert stored == checksums(shapes_page / "model.onnx")
    assert len(stored) > 100
    assert of_a_torn_file == 0
    assert check_value == 0xCBF43926  # what all lists of CRCs have for these nine digits


def test_boxes_that_the_file_selects_are_compared_as_boxes(browser: Browser, shapes_page: Path) -> None:
    """By how much scores are above 0.3: 0.6 and 0.2 of the right ones, 0.5 of the one found, which is 0.1 less sure."""
    right = [box(1, 0.9, [0, 0, 10, 10]), box(2, 0.5, [50, 50, 60, 60])]
    found = [box(1, 0.8, [0, 0, 10, 10]), box(2, 0.29, [50, 50, 60, 60])]
    report = verdict_of(browser, shapes_page, right, found)
    assert report["distances"]["results"] == pytest.approx((0.1 + 0.2) / (0.6 + 0.2 + 0.5))
    assert report["causes"] == ["channels swapped"]
    assert not report["equal"]


def box(label: int, score: float, corners: list[int]) -> dict[str, Any]:
    return {"label": label, "score": score, "box": corners}


def test_a_small_fault_is_told_from_the_files_own_rounding(browser: Browser, shapes_page: Path) -> None:
    """The right answers are 1 above and below their mean; rounding moves the first by 0.5, the fault the second."""
    means = [[[0.0] * 8] * 8] * 3
    picture = {
        "answers": {"scores": [0, 2]},
        "own": {"scores": [0.5, 2]},
        "otherwise": {"channels swapped": {"scores": [0, 2.5]}, "squashed": {"scores": [0.5, 2]}},
        "results": [],
        "input": means,
    }
    exam = {"at": {"scores": [0, 1]}, "limits": {"scores": 0.6}, "score_threshold": 0.3, "pictures": [picture]}
    own = exam | {"own_limits": {"scores": 0.1}}
    cases: tuple[tuple[dict[str, Any], list[float], float, list[str]], ...] = (
        (exam, [0.5, 2.5], 0.5, []),
        (own, [0.5, 2.5], 0.5 / 2**0.5, ["channels swapped"]),
        (own, [0.5, 2], 0, []),
    )
    answer = {"labels": [], "boxes": {}, "means": [0.0] * 192}
    asked = [(said, answer | {"values": {"scores": values}}) for said, values, _, _ in cases]
    for report, (_, _, off, causes) in zip(judged(browser, shapes_page, asked), cases, strict=True):
        assert report["distances"]["scores"] == pytest.approx(off)
        assert report["causes"] == causes
        assert report["equal"] is (not causes)


def verdict_of(browser: Browser, page: Path, right: list[Any], found: list[Any]) -> dict[str, Any]:
    means = [[[0.0] * 8] * 8] * 3
    picture = {
        "answers": {},
        "otherwise": {"channels swapped": {"results": found[:1]}, "squashed": {"results": []}},
        "results": right,
        "input": means,
    }
    exam = {"at": {}, "limits": {"results": 0.01}, "score_threshold": 0.3, "pictures": [picture], "weights": {}}
    answer = {"values": {}, "labels": [], "boxes": {"results": {"head": "", "found": found}}, "means": [0.0] * 192}
    (report,) = judged(browser, page, [(exam, answer)])
    return report


def judged(browser: Browser, page: Path, asked: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the page's module says of exams of one picture, each with its answer."""
    with served(page) as url:
        browser.open(url)
        reports: list[dict[str, Any]] = browser.driver.execute_async_script(
            """
            const [asked, done] = arguments;
            import(new URL("exam.js", location.href)).then(({ verdict }) =>
              done(asked.map(([exam, answer]) => verdict(exam, [answer], new Map())))
            );
            """,
            asked,
        )
    return reports
