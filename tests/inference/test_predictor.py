from __future__ import annotations

import copy
import io
import sys
import time
import typing
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mnv2dense.inference import predictor as predictor_module
from mnv2dense.inference.predictor import Predictor
from mnv2dense.inference.results import ImageClassification, ImageDetections, ImageJoint, ImageSegmentation
from mnv2dense.io.reading import read_image
from mnv2dense.models.checkpoint import save_model
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.runtimes.formats import FORMATS, Format
from mnv2dense.runtimes.metadata import Metadata
from mnv2dense.types import Detections
from tests.helpers.file_server import serving
from tests.helpers.tiny import random_images, tiny_model


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return tiny_model(resize="letterbox")


@pytest.fixture(scope="module")
def predictor(model: DenseModel) -> Predictor:
    return Predictor(model, device="cpu")


def scene(height: int = 60, width: int = 90) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Something whose four corners differ."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 3] = (250, 20, 30)
    image[height // 2 :, width // 2 :] = (10, 200, 90)
    return image


def assert_same(ours: Detections, theirs: Detections) -> None:
    assert len(ours) == len(theirs) > 0
    assert torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(ours.boxes, theirs.boxes)
    torch.testing.assert_close(ours.scores, theirs.scores)


def test_path_pil_image_array_and_tensor_give_the_same_answer(predictor: Predictor, tmp_path: Path) -> None:
    image = scene()
    path = tmp_path / "scene.png"
    Image.fromarray(image).save(path)
    expected = predictor(image)
    assert expected.boxes[:, 0::2].max() <= 90
    assert expected.boxes[:, 1::2].max() <= 60
    for given in (
        path,
        str(path),
        Image.open(path),
        Image.fromarray(image),
        torch.from_numpy(image).permute(2, 0, 1),
        image[:, ::-1][:, ::-1],  # negative strides
    ):
        assert_same(predictor(given), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_is_turned_upright_as_its_file_is(predictor: Predictor, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(scene()).save(path, exif=exif)
    upright = read_image(path)
    assert upright.shape == ((60, 90, 3) if orientation < 5 else (90, 60, 3))
    expected = predictor(upright)
    assert_same(predictor(path), expected)
    assert_same(predictor(Image.open(path)), expected)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_of_pil_means_what_its_file_means(predictor: Predictor, tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(scene()).convert(mode)
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image.save(path)
    assert_same(predictor(image), predictor(path))


def test_folding_batch_norms_changes_raw_predictions_by_rounding_alone(model: DenseModel) -> None:
    folded = fold_batch_norms(copy.deepcopy(model))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) > 50
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = random_images()
    for ours, theirs in zip(model(images), folded(images), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)


def test_the_given_model_stays_as_it_is(model: DenseModel) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    try:
        Predictor(model, device="cpu")(scene())
        assert model.training
    finally:
        model.eval()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_is_as_good_as_its_model(predictor: Predictor, model: DenseModel, tmp_path: Path) -> None:
    path = save_model(model, tmp_path / "model.ckpt")
    assert_same(Predictor(path, device="cpu")(scene()), predictor(scene()))


def test_several_images_are_answered_in_their_order(predictor: Predictor) -> None:
    given = [scene(60, 90), scene(90, 60), 255 - scene(40, 40)]
    answers = predictor.many(given)
    assert len(answers) == 3
    for image, answer in zip(given, answers, strict=True):
        assert_same(answer, predictor(image))
    assert predictor.many([]) == []


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_boxes_of_the_oddest_images_stay_inside_them(resize: str, height: int, width: int) -> None:
    predictor = Predictor(tiny_model(resize=resize), device="cpu")
    found = predictor(np.full((height, width, 3), 128, np.uint8))
    assert found.boxes.isfinite().all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 5, 3), np.float32), r"array of float32 \[5, 5, 3\].* uint8 RGB \[height, width, 3\]"),
        (np.zeros((5, 5), np.uint8), r"array of uint8 \[5, 5\]"),
        (np.zeros((3, 5, 5), np.uint8), r"array of uint8 \[3, 5, 5\]"),
        (np.zeros((0, 5, 3), np.uint8), r"array of uint8 \[0, 5, 3\]"),
        (torch.zeros(3, 5, 5), r"tensor of torch.float32 \[3, 5, 5\].* uint8 RGB \[3, height, width\]"),
        (torch.zeros(1, 3, 5, 5, dtype=torch.uint8), r"tensor of torch.uint8 \[1, 3, 5, 5\]"),
        (7, "int is not an image: give a path, PIL image, array or tensor"),
    ],
)
def test_what_is_no_image_is_refused_with_what_would_be(predictor: Predictor, image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor(image)


def test_a_missing_file_is_named(predictor: Predictor) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        predictor("nowhere.jpg")


def test_results_below_the_threshold_are_left_out(model: DenseModel, predictor: Predictor) -> None:
    scores = predictor(scene()).scores
    middle = float(scores[len(scores) // 2])
    strict = Predictor(model, threshold=middle, device="cpu")(scene())
    assert len(strict) == int((scores >= middle).sum()) < len(scores)
    assert len(Predictor(model, threshold=1.0, device="cpu")(scene())) == 0


@pytest.mark.parametrize("threshold", [-0.1, 30.0, float("nan")])
def test_a_threshold_is_a_score(model: DenseModel, threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold=.*: scores lie between 0 and 1"):
        Predictor(model, threshold=threshold, device="cpu")


# --- several, streams, addresses, threads ----------------------------------------------------------------------------


def several(count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    return [np.roll(scene(40 + 5 * n, 60), 7 * n, axis=1) for n in range(count)]


def test_one_image_gives_one_result_a_list_a_list_and_a_generator_an_iterator(predictor: Predictor) -> None:
    given = several(5)
    expected = [predictor(image) for image in given]
    assert isinstance(expected[0], Detections)
    for answers in (
        predictor(given, batch_size=2),
        predictor(tuple(given)),
        list(predictor((image for image in given), batch_size=3)),
        list(predictor.stream(given, batch_size=1)),
    ):
        assert len(answers) == 5
        for answer, one in zip(answers, expected, strict=True):
            assert_same(answer, one)
    assert isinstance(predictor(given), list)
    assert isinstance(predictor(iter(given)), Iterator)
    assert predictor([]) == []


def test_a_generator_is_asked_for_one_batch_at_a_time(predictor: Predictor) -> None:
    taken = 0

    def frames() -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
        nonlocal taken
        for image in several(6):
            taken += 1
            yield image

    answers = predictor(frames(), batch_size=2)
    assert taken == 0
    next(answers)
    assert taken == 2
    next(answers)
    assert taken == 2
    next(answers)
    assert taken == 4


def test_of_large_images_fewer_run_together(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    monkeypatch.setattr("mnv2dense.inference.predictor._BYTES_OF_BATCH", 2 * image.nbytes)
    taken: list[int] = []

    def images() -> Iterator[np.ndarray[Any, Any]]:
        for number in range(8):
            taken.append(number)
            yield image

    results = predictor.stream(images(), batch_size=8)
    next(results)
    assert len(taken) < 4
    assert len(list(results)) == 7


def test_a_stream_keeps_no_image_that_is_done(predictor: Predictor) -> None:
    alive: list[weakref.ref[Any]] = []

    def frames() -> Iterator[Any]:
        for _ in range(12):
            image = scene().copy()
            alive.append(weakref.ref(image))
            yield image
            del image

    for _ in predictor.stream(frames(), batch_size=2):
        assert sum(reference() is not None for reference in alive) <= 4


def test_a_broken_image_raises_in_its_turn(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    answers = predictor.stream([scene(), scene(), tmp_path / "broken.jpg", scene()], batch_size=4)
    assert len(next(answers)) == len(next(answers)) > 0
    with pytest.raises(ValueError, match=r"broken\.jpg: no image"):
        next(answers)


def test_a_batch_has_at_least_one_image(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="batch_size=0: at least 1"):
        predictor([scene()], batch_size=0)


def test_an_address_is_as_good_as_the_file_and_is_fetched_once(predictor: Predictor) -> None:
    encoded = io.BytesIO()
    Image.fromarray(scene()).save(encoded, "PNG")
    with serving() as site:
        site.files |= {"/scene.png": encoded.getvalue(), "/page": b"<!doctype html>", "/large": bytes(2**20)}
        found = predictor(f"{site.url}/scene.png")
        assert_same(found, predictor(scene()))
        assert (found.image == scene()).all()
        assert len(site.ranges) == 1
        with pytest.raises(ValueError, match=r"/page: a web page"):
            predictor(f"{site.url}/page")
        with pytest.raises(OSError, match="404"):
            predictor(f"{site.url}/none.png")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mnv2dense.io.inputs.MAX_BYTES", 1000)
            with pytest.raises(OSError, match="more than 1,000 bytes"):
                predictor(f"{site.url}/large")
    with pytest.raises(ValueError, match=r"url='ftp://host/a.png' is refused"):
        predictor("ftp://host/a.png")


def test_a_files_bytes_are_a_image(predictor: Predictor) -> None:
    encoded = io.BytesIO()
    Image.fromarray(scene()).save(encoded, "PNG")
    assert_same(predictor(encoded.getvalue()), predictor(scene()))


def test_threads_get_the_results_that_each_would_get_alone(predictor: Predictor) -> None:
    given = several(12)
    expected = predictor(given, batch_size=1)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(predictor, given * 2))
    for answer, one in zip(answers, expected * 2, strict=True):
        assert_same(answer, one)


def test_a_runtime_serves_one_thread_at_a_time(tmp_path: Path) -> None:
    onnx = tmp_path / "model.fake"
    fake = ExportedFile()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "fake", Format(".fake"))
        patch.setitem(sys.modules, "mnv2dense.runtimes.fake", fake)
        onnx.touch()
        before = torch.get_num_threads()
        predictor = Predictor(onnx)
        given = several(8)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(predictor, given))
        assert fake.most_at_once == 1
        assert torch.get_num_threads() == before
        for answer, image in zip(answers, given, strict=True):
            assert_same(answer, fake.predictor(image))


class ExportedFile:
    """Stands in for a runtime's module and what it loads; remembers how many calls were under way at once."""

    batch = None

    def __init__(self) -> None:
        self.predictor = Predictor(tiny_model(), device="cpu")
        model = self.predictor.model
        assert isinstance(model, DenseModel)
        self.model = model
        self.description = Metadata(
            task="detection",
            size=model.size,
            resize=model.resize,
            class_names=model.class_names,
            category_ids=model.category_ids,
            outputs="boxes",
            selection=model.head.selection.config,  # type: ignore[union-attr]
            precision="fp32",
        )
        self.at_once = self.most_at_once = 0

    def load(self, path: Path, *, threads: int | None = None) -> ExportedFile:
        return self

    def __call__(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> list[np.ndarray[Any, Any]]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        with torch.inference_mode():
            decoded = self.model.decode(self.model(torch.from_numpy(images)))
        time.sleep(0.01)  # long enough for another thread to come in, if it may
        self.at_once -= 1
        return [decoded.boxes.numpy(), decoded.scores.numpy()]


def test_a_task_that_is_expected_is_asked_for_and_another_is_refused(model: DenseModel) -> None:
    assert Predictor(model, task="detection", device="cpu").model.task == "detection"
    with pytest.raises(ValueError, match="task='segmentation': this model is for detection; leave task out"):
        Predictor(model, task="segmentation", device="cpu")


def test_a_type_checker_learns_from_the_task_what_comes_out() -> None:
    said = {}
    for overload in typing.get_overloads(Predictor.__init__):
        hints = typing.get_type_hints(overload, vars(predictor_module) | {"TTA": object, "Tiles": object})
        said[hints["task"]] = hints["self"]
    assert said == {
        typing.Literal["detection"]: Predictor[ImageDetections],
        typing.Literal["segmentation"]: Predictor[ImageSegmentation],
        typing.Literal["classification"]: Predictor[ImageClassification],
        typing.Literal["joint"]: Predictor[ImageJoint],
        type(None): Predictor[Any],
    }
