"""The page in a real browser: it answers as Python does, to every visitor, and sends nothing anywhere."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from mnv2dense import Predictor, save_model
from mnv2dense.data.shapes.drawing import draw_image
from mnv2dense.export.formats.onnx import export
from mnv2dense.export.graph import ExportGraph
from mnv2dense.inference.results import ImageJoint
from mnv2dense.ops.boxes import pairwise_iou
from mnv2dense.ops.label_map import Samples, every_pixel
from mnv2dense.ops.resize import RESIZE_MODES, ResizeMode, resize
from mnv2dense.types import SHOWN_SCORE, Detections
from tests.helpers.browser import Browser, build, chromium, served
from tests.helpers.joint import joint_model

PHOTOS = ("cat_720p.jpg", "kite_and_cold.jpg", "parrot.jpg", "pets.jpg")


@pytest.fixture
def shapes(browser: Browser, shapes_page: Path) -> Iterator[Browser]:
    with served(shapes_page) as url:
        browser.open(url)
        yield browser


@pytest.fixture(scope="module")
def masks(browser: Browser, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    checkpoint = shared / "weights" / "deeplabv3_mobilenet_v2_1.0_513"
    with served(build(tmp_path_factory.mktemp("masks"), f"checkpoint={checkpoint}")) as url:
        yield url


@pytest.fixture(scope="module")
def classes(browser: Browser, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    checkpoint = shared / "weights" / "mobilenet_v2_1.0_224"
    with served(build(tmp_path_factory.mktemp("classes"), f"checkpoint={checkpoint}")) as url:
        yield url


def assert_same_boxes(page: dict[str, Any], python: Detections) -> None:
    """As many boxes of each class, and each one's best partner of the same class covers the same pixels."""
    found = page["detections"]
    assert len(found) == len(python)
    assert sorted(row["label"] for row in found) == sorted(python.labels.tolist())
    for row in found:
        of_class = python.labels == row["label"]
        overlaps = pairwise_iou(torch.tensor([row["box"]]), python.boxes[of_class])[0]
        assert overlaps.max() > 0.99
        assert python.scores[of_class][overlaps.argmax()] == pytest.approx(row["score"], abs=1e-3)
        assert row["name"] == python.class_names[row["label"]]


# --- the same numbers ----------------------------------------------------------------------------------------


def resized_by_page(
    browser: Browser, image: npt.NDArray[np.uint8], size: tuple[int, int], mode: ResizeMode
) -> torch.Tensor:
    height, width, _ = image.shape
    made = browser.driver.execute_async_script(
        """
        const [rgb, height, width, size, mode, done] = arguments;
        import(new URL("geometry.js", location.href)).then(({ resize }) => {
          const rgba = new Uint8ClampedArray(height * width * 4);
          for (let i = 0; i < height * width; i++) rgba.set(rgb.slice(3 * i, 3 * i + 3), 4 * i);
          done(Array.from(resize(rgba, width, height, size, mode)));
        });
        """,
        image.ravel().tolist(),
        height,
        width,
        list(size),
        mode,
    )
    return torch.tensor(made, dtype=torch.uint8).reshape(3, *size)


def test_the_page_resizes_to_the_very_bits_of_python(shapes: Browser) -> None:
    sizes = [(37, 53, (96, 64)), (200, 31, (32, 48)), (64, 300, (64, 64)), (480, 641, (160, 160)), (1, 90, (33, 33))]
    for height, width, size in sizes:
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        for mode in RESIZE_MODES:
            wanted, _ = resize(torch.from_numpy(image).permute(2, 0, 1), size, mode)
            assert torch.equal(resized_by_page(shapes, image, size, mode), wanted), (height, width, size, mode)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_page_decides_masks_as_python_does(shapes: Browser, align_corners: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    for classes, rows, columns, height, width in ((21, 9, 7, 130, 95), (3, 1, 5, 40, 200), (5, 30, 40, 50, 60)):
        logits = torch.randn(classes, rows, columns, generator=generator) * 3
        logits[1] += 2
        down = Samples.of(height, 54 / height, 5.0, 64, rows, align_corners)
        across = Samples.of(width, 64 / width, 0.0, 64, columns, align_corners)
        made = shapes.driver.execute_async_script(
            """
            const [logits, size, [height, width], alignCorners, done] = arguments;
            import(new URL("label_map.js", location.href)).then(({ labelMap, places }) => {
              const down = places(height, 54 / height, 5, 64, size[1], alignCorners);
              const across = places(width, 64 / width, 0, 64, size[2], alignCorners);
              done(Array.from(labelMap(new Float32Array(logits), size, down, across)));
            });
            """,
            logits.ravel().tolist(),
            [classes, rows, columns],
            [height, width],
            align_corners,
        )
        assert torch.equal(
            torch.tensor(made, dtype=torch.uint8).reshape(height, width), every_pixel(logits, down, across)
        )


@pytest.mark.parametrize("number", [1, 2, 3])
def test_boxes_of_a_chosen_image_are_pythons(shapes: Browser, shapes_page: Path, number: int) -> None:
    image = shapes_page / "samples" / f"{number:02}.png"
    page = shapes.choose(image)
    assert_same_boxes(page, Predictor("shapes")(image))
    assert any(row["score"] > 0.9 for row in page["detections"])
    assert page["picture"]["name"] == image.name


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_boxes_of_a_dropped_or_pasted_image_are_pythons(shapes: Browser, tmp_path: Path, event: str) -> None:
    image = tmp_path / "dropped.png"
    Image.fromarray(draw_image(np.random.default_rng(7), 400)[0]).save(image)
    assert_same_boxes(shapes.drop(image, event), Predictor("shapes")(image))


@pytest.mark.parametrize("photo", PHOTOS)
def test_boxes_on_a_photo_are_pythons(shapes: Browser, shared: Path, photo: str) -> None:
    page = shapes.drop(shared / "photos" / photo)
    python = Predictor("shapes")(shared / "photos" / photo)
    # The detector knows drawn shapes alone and is unsure of photos; near the threshold a last digit decides.
    page["detections"] = [row for row in page["detections"] if row["score"] >= 0.05]
    assert_same_boxes(page, python.above(0.05))


def test_a_image_on_its_side_is_turned_as_in_python(shapes: Browser, tmp_path: Path) -> None:
    picture = tmp_path / "turned.jpg"
    image = Image.fromarray(draw_image(np.random.default_rng(3), 300)[0])
    exif = image.getexif()
    exif[274] = 6
    image.save(picture, quality=95, exif=exif)
    page = shapes.choose(picture)
    assert [page["picture"]["width"], page["picture"]["height"]] == [image.height, image.width]
    assert_same_boxes(page, Predictor("shapes")(picture))


def test_what_is_transparent_lies_on_white_as_in_python(shapes: Browser, tmp_path: Path) -> None:
    picture = tmp_path / "cut-out.png"
    image = Image.fromarray(draw_image(np.random.default_rng(5), 300)[0]).convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, image.width // 3, image.height))
    image.putalpha(alpha)
    image.save(picture)
    assert_same_boxes(shapes.choose(picture), Predictor("shapes")(picture))


def test_masks_of_photos_are_pythons(browser: Browser, masks: str, shared: Path) -> None:
    predictor = Predictor(shared / "weights" / "deeplabv3_mobilenet_v2_1.0_513")
    browser.open(masks)
    for photo in PHOTOS:
        page = browser.choose(shared / "photos" / photo)
        python = predictor(shared / "photos" / photo)
        same = (browser.labels() == python.labels.numpy()).mean()
        assert same > 0.995, photo
        shares = {row["name"]: row["share"] for row in page["classes"]}
        assert shares == pytest.approx(python.shares(), abs=0.005)


def test_classes_of_photos_are_pythons(browser: Browser, classes: str, shared: Path) -> None:
    predictor = Predictor(shared / "weights" / "mobilenet_v2_1.0_224")
    browser.open(classes)
    for photo in PHOTOS:
        page = browser.choose(shared / "photos" / photo)
        best = predictor(shared / "photos" / photo).top(3)
        assert [row["name"] for row in page["classes"][:3]] == best.names
        assert [row["score"] for row in page["classes"][:3]] == pytest.approx(best.scores.tolist(), abs=2e-3)


def test_a_gpu_gives_the_same_boxes(shapes_page: Path, tmp_path: Path) -> None:
    with served(shapes_page) as url, chromium(tmp_path, gpu=True) as browser:
        browser.driver.get(f"{url}?backend=webgpu")
        adapter = "navigator.gpu.requestAdapter().then((found) => arguments[0](found !== null))"
        if not browser.driver.execute_async_script(f"navigator.gpu ? {adapter} : arguments[0](false)"):
            pytest.skip("this chromium plays no GPU")
        browser.open(f"{url}?backend=webgpu")
        assert browser.text("#fact-backend") == "WebGPU"
        image = shapes_page / "samples" / "04.png"
        page = browser.choose(image)
        page["detections"] = [row for row in page["detections"] if row["score"] >= 0.05]
        assert_same_boxes(page, Predictor("shapes", threshold=0.05)(image))


# --- several heads -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joint_page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a checkpoint with boxes and masks."""
    folder = tmp_path_factory.mktemp("joint")
    checkpoint = save_model(joint_model(), folder / "joint.ckpt")
    return build(folder / "page", f"checkpoint={checkpoint}", f"samples={drawn(folder / 'samples')}")


@pytest.fixture
def joint(browser: Browser, joint_page: Path) -> Iterator[Browser]:
    with served(joint_page) as url:
        browser.open(url)
        yield browser


SWITCHES = "return [...document.querySelectorAll('#switches input')].map((box) => box.name)"


def drawn(folder: Path) -> Path:
    """A folder with an image that is not square."""
    folder.mkdir()
    Image.fromarray(draw_image(np.random.default_rng(7), 300)[0]).save(folder / "drawn.png")
    return folder


def assert_same_parts(browser: Browser, page: dict[str, Any], python: ImageJoint) -> None:
    assert browser.run(SWITCHES) == list(python)
    assert page["parts"].keys() == set(python)
    for name, part in python.parts.items():
        if isinstance(part, Detections):
            assert_same_boxes(page["parts"][name], part)
        else:
            assert (browser.labels() == part.labels.numpy()).mean() > 0.999
            shares = {row["name"]: row["share"] for row in page["parts"][name]["classes"]}
            assert shares == pytest.approx(part.shares(), abs=1e-3)


def test_boxes_and_masks_of_one_pass_are_pythons(joint: Browser, joint_page: Path) -> None:
    image = joint_page / "samples" / "01.png"
    python = Predictor(joint_page.parent / "joint.ckpt")(image)
    assert len(python["boxes"]) > 20
    assert len(python["masks"].shares()) == 3
    assert_same_parts(joint, joint.choose(image), python)


def test_each_head_may_decide_inside_or_leave_it_to_the_page(browser: Browser, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph = ExportGraph(joint_model(cars=True), selection={"limit": 10})  # a small graph: each box is a step in it
    graph.parts = {"boxes": "selected_boxes", "masks": "labels", "cars": "boxes"}
    file = export(graph, tmp_path / "heads.onnx", description=graph.describe("fp32"))
    page = build(tmp_path / "page", f"checkpoint={file}", f"samples={drawn(tmp_path / 'samples')}")
    python = Predictor(file)(page / "samples" / "01.png")
    with served(page) as url:
        browser.open(url)
        assert_same_parts(browser, browser.result(), python)
        assert browser.remarks() == []


def canvas_of(browser: Browser) -> Image.Image:
    url = browser.run("return document.querySelector('#canvas').toDataURL('image/png')")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


def distance(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of their values, of 255."""
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def test_switches_show_and_hide_what_each_head_found(joint: Browser, joint_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    image = joint_page / "samples" / "01.png"
    python = Predictor(joint_page.parent / "joint.ckpt", threshold=SHOWN_SCORE)(image)
    joint.choose(image)
    joint.run("const at = document.querySelector('#score'); at.value = 0; at.dispatchEvent(new Event('input'))")
    boxes, masks = (joint.driver.find_element("css selector", f"#switches [name={name}]") for name in python)
    rows = "return [...document.querySelectorAll('#rows li')].map((item) => item.className)"
    both = canvas_of(joint)
    count = len(joint.run(rows))
    assert joint.run(rows).count("part") == 2
    assert "boxes: 100 objects: " in joint.text("#summary")
    assert "masks: Road " in joint.text("#summary")

    boxes.send_keys(Keys.SPACE)
    mask_alone = canvas_of(joint)
    assert joint.run(rows) == ["part", "row", "row", "row"]
    assert joint.text("#summary").startswith("masks: Road ")
    assert "object" not in joint.run("return document.querySelector('#canvas').ariaLabel")
    joint.click("#save-json")
    joint.click("#save-labels")
    wait_for_files(joint.downloads / "01.json", joint.downloads / "01.labels.png")
    assert list(json.loads((joint.downloads / "01.json").read_text())["parts"]) == ["masks"]
    with Image.open(joint.downloads / "01.labels.png") as saved:
        labels = np.asarray(saved.convert("L"))
    assert (labels == python["masks"].labels.numpy()).mean() > 0.999

    masks.click()
    neither = canvas_of(joint)
    with Image.open(image) as plain:
        shown = plain.convert("RGB").resize(neither.size)
    assert joint.text("#summary") == "All that was found is switched off"
    assert joint.run(rows) == []
    assert joint.run("return document.querySelector('#save-labels').disabled")

    boxes.click()
    boxes_alone = canvas_of(joint)
    assert len(joint.run(rows)) == count - 4
    assert distance(neither, shown) < 4 < min(distance(each, shown) for each in (mask_alone, boxes_alone))
    assert distance(boxes_alone, mask_alone) > 4
    masks.click()
    assert distance(canvas_of(joint), both) == 0


def test_switches_stay_as_they_are_for_the_next_image(joint: Browser, joint_page: Path) -> None:
    joint.click("#switches [name=masks]")
    page = joint.choose(joint_page / "samples" / "01.png")
    assert list(page["parts"]) == ["boxes", "masks"]
    assert "masks" not in joint.text("#summary")
    assert joint.text("#about") == "Detection, 3 classes + segmentation, 3 classes, 96 \u00d7 96, fp32"


@pytest.mark.parametrize("width", [320, 390])
def test_switches_are_for_fingers_and_fit_a_phone(joint: Browser, width: int) -> None:
    try:
        joint.command("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=True)
        assert joint.run("return document.documentElement.scrollWidth") == width
        heights = joint.run(
            "return [...document.querySelectorAll('.switch')].map((part) => part.getBoundingClientRect().height)"
        )
        assert len(heights) == 2
        assert min(heights) >= 44
    finally:
        joint.command("Emulation.clearDeviceMetricsOverride")


def test_one_head_has_no_switches(shapes: Browser) -> None:
    assert shapes.run("return document.querySelector('#switches').hidden")
    assert shapes.run("return document.querySelectorAll('#rows .part').length") == 0


# --- visitors ------------------------------------------------------------------------------------------------


def test_the_first_sample_is_there_without_a_click(shapes: Browser) -> None:
    assert shapes.text("h1") == "Drawn shapes"
    assert "object" in shapes.text("#summary")
    assert shapes.run("return document.querySelector('#sample-list [aria-current] img').alt") == "Drawn shapes 1"
    assert shapes.run("return document.querySelector('#canvas').ariaLabel").startswith("Drawn shapes 1. ")
    assert shapes.text("#fact-size") == "5.2 MB"
    assert shapes.text("#fact-time").endswith(" ms")
    assert shapes.text("#fact-backend").startswith("WebAssembly, ")


def test_a_file_that_is_no_image_is_refused_in_words_and_the_next_one_works(shapes: Browser, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert shapes.choose(tmp_path / "notes.txt") == {}
    message = "notes.txt is no image that this browser can read. JPEG, PNG, WebP, GIF and BMP will do."
    assert shapes.text("#alert") == message
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert shapes.drop(tmp_path / "broken.png") == {}
    assert "broken.png is no image" in shapes.text("#alert")
    Image.new("RGB", (50, 40)).save(tmp_path / "plain.png")
    assert shapes.drop(tmp_path / "plain.png")["picture"] == {"name": "plain.png", "width": 50, "height": 40}
    assert shapes.run("return document.querySelector('#alert').hidden")


def test_the_keyboard_moves_the_score_and_fewer_boxes_stay(shapes: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    count = "return document.querySelectorAll('#rows li').length"
    before = shapes.run(count)
    slider = shapes.driver.find_element("css selector", "#score")
    slider.send_keys(Keys.HOME)
    assert shapes.run(count) > before
    slider.send_keys(Keys.END)
    assert shapes.run(count) < before
    slider.send_keys(Keys.PAGE_DOWN)
    assert shapes.text("#score-value") < "1.00"


def test_everything_can_be_reached_by_tab_and_shows_that_it_was(shapes: Browser) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    shapes.run("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        ActionChains(shapes.driver).send_keys(Keys.TAB).perform()
        reached.append(
            shapes.run("const at = document.activeElement; return at.id || at.querySelector(':scope > img')?.alt")
        )
        ring = "return getComputedStyle(document.activeElement.closest('label') ?? document.activeElement).outlineStyle"
        assert reached[-1] in (None, "") or shapes.run(ring) != "none", reached
    wanted = {"file", "camera", "save-png", "save-json", "score", "Drawn shapes 1", "Drawn shapes 6"}
    assert wanted <= set(reached)


def test_what_is_saved_is_what_is_shown(shapes: Browser, shapes_page: Path) -> None:
    shapes.choose(shapes_page / "samples" / "02.png")
    shapes.click("#save-json")
    shapes.click("#save-png")
    wait_for_files(shapes.downloads / "02.json", shapes.downloads / "02.png")
    found = json.loads((shapes.downloads / "02.json").read_text())
    assert found["threshold"] == SHOWN_SCORE
    assert_same_boxes(found, Predictor("shapes", threshold=SHOWN_SCORE)(shapes_page / "samples" / "02.png"))
    with Image.open(shapes_page / "samples" / "02.png") as plain, Image.open(shapes.downloads / "02.png") as drawn:
        assert drawn.size == plain.size
        assert np.asarray(drawn.convert("RGB")).tolist() != np.asarray(plain).tolist()


def wait_for_files(*paths: Path) -> None:
    for _ in range(200):
        if all(path.is_file() for path in paths):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{paths} were not saved")


def test_the_camera_is_analysed_until_it_is_stopped(shapes: Browser) -> None:
    shapes.click("#camera")
    shapes.wait_for("return globalThis.mnv2dense?.result.picture.name === 'Camera'")
    assert shapes.text("#camera") == "Stop"
    shapes.click("#camera")
    assert shapes.text("#camera") == "Camera"
    assert shapes.run("return document.querySelector('#video').srcObject") is None


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_scrolling_sideways_and_no_small_finger(shapes: Browser, width: int) -> None:
    try:
        shapes.command("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=2, mobile=True)
        assert shapes.run("return document.documentElement.scrollWidth") == width
        sides = shapes.run(
            "return [...document.querySelectorAll('.button:not([hidden]), input[type=range], #sample-list button')]"
            ".filter((part) => part.offsetParent).map((part) => part.getBoundingClientRect().height)"
        )
        assert min(sides) >= 44
    finally:
        shapes.command("Emulation.clearDeviceMetricsOverride")


def test_a_finger_is_not_asked_to_drop_anything(shapes: Browser) -> None:
    shown = (
        "return [...document.querySelectorAll('#empty span')]"
        ".filter((part) => getComputedStyle(part).display !== 'none').map((part) => part.textContent)"
    )
    assert shapes.run(shown) == ["Drop a picture here", "or paste one, or choose a file"]
    try:
        shapes.command("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
        shapes.command("Emulation.setTouchEmulationEnabled", enabled=True)
        assert shapes.run(shown) == ["Choose or take a picture"]
    finally:
        shapes.command("Emulation.setTouchEmulationEnabled", enabled=False)
        shapes.command("Emulation.clearDeviceMetricsOverride")


# --- nothing leaves ------------------------------------------------------------------------------------------


def test_nothing_is_asked_of_any_other_machine_and_the_console_is_silent(shapes: Browser, shared: Path) -> None:
    shapes.remarks()
    shapes.hosts()
    shapes.open(shapes.driver.current_url)
    shapes.choose(shared / "photos" / "pets.jpg")
    shapes.click("#save-json")
    assert shapes.remarks() == []
    assert shapes.hosts() == {"127.0.0.1"}


def test_the_page_could_not_send_anything_if_it_tried(shapes: Browser) -> None:
    tried = shapes.driver.execute_async_script(
        "fetch('http://127.0.0.1:9/', { method: 'POST', body: 'x' }).then(() => arguments[0]('sent'), "
        "() => arguments[0]('refused'));"
    )
    assert tried == "refused"
    assert any("Content Security Policy" in remark for remark in shapes.remarks())


def test_a_host_without_headers_for_threads_gets_one_thread_and_says_so(browser: Browser, shapes_page: Path) -> None:
    class Plain(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(*arguments, directory=str(shapes_page), **options)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: ANN401
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            browser.open(f"http://127.0.0.1:{server.server_port}/")
            assert browser.text("#fact-backend") == "WebAssembly, one thread: the host sends no headers for more"
            image = shapes_page / "samples" / "03.png"
            assert_same_boxes(browser.choose(image), Predictor("shapes")(image))
        finally:
            server.shutdown()
            thread.join()


# --- thresholds ------------------------------------------------------------------------------------------------


def test_boxes_go_by_the_score_that_is_kept_for_their_class(shapes: Browser) -> None:
    description = {
        "task": "joint",
        "class_names": ["cars/car", "cars/van", "masks/road"],
        "parts": {"cars": "boxes", "masks": "logits"},
        "selection": {"parts": {"cars": {"task": "detection"}, "masks": {"task": "segmentation"}}},
        "thresholds": {"cars": {"overall": 0.5, "classes": {"van": 0.7}}},
    }
    least, rows, masks = shapes.driver.execute_async_script(
        """
        const [description, scores, labels, done] = arguments;
        const load = (name) => import(new URL(name, location.href));
        Promise.all([load("parts.js"), load("drawing.js")]).then(([{ partsOf }, { visible }]) => {
          const [cars, masks] = partsOf({ description, colors: [[0, 0, 0], [1, 1, 1], [2, 2, 2]] });
          done([cars.least, visible({ ...cars, result: { scores, labels } }, "auto"), masks.least]);
        });
        """,
        description,
        np.array([0.7, 0.7, 0.6, 0.4], np.float32).tolist(),  # a float32 of 0.7 is less than 0.7
        [1, 0, 1, 0],
    )
    assert (least, rows, masks) == ([0.5, 0.7], [0, 1], None)
