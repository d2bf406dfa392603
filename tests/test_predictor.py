from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mnv2dense.checkpoint import save_model
from mnv2dense.data.pictures import read_picture
from mnv2dense.folding import fold_batch_norms
from mnv2dense.model import DenseModel
from mnv2dense.predictor import Predictor
from mnv2dense.types import Detections
from tests.tiny import pictures, tiny_model


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return tiny_model(resize="letterbox")


@pytest.fixture(scope="module")
def predictor(model: DenseModel) -> Predictor:
    return Predictor(model, device="cpu")


def scene(height: int = 60, width: int = 90) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Something whose four corners differ."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 3] = (250, 20, 30)
    picture[height // 2 :, width // 2 :] = (10, 200, 90)
    return picture


def assert_same(ours: Detections, theirs: Detections) -> None:
    assert len(ours) == len(theirs) > 0
    assert torch.equal(ours.labels, theirs.labels)
    torch.testing.assert_close(ours.boxes, theirs.boxes)
    torch.testing.assert_close(ours.scores, theirs.scores)


def test_path_pil_image_array_and_tensor_give_the_same_answer(predictor: Predictor, tmp_path: Path) -> None:
    picture = scene()
    path = tmp_path / "scene.png"
    Image.fromarray(picture).save(path)
    expected = predictor(picture)
    assert expected.boxes[:, 0::2].max() <= 90
    assert expected.boxes[:, 1::2].max() <= 60
    for given in (
        path,
        str(path),
        Image.open(path),
        Image.fromarray(picture),
        torch.from_numpy(picture).permute(2, 0, 1),
        picture[:, ::-1][:, ::-1],  # negative strides
    ):
        assert_same(predictor(given), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pil_image_is_turned_upright_as_its_file_is(predictor: Predictor, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(scene()).save(path, exif=exif)
    upright = read_picture(path)
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
    images = pictures()
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


def test_several_pictures_are_answered_in_their_order(predictor: Predictor) -> None:
    given = [scene(60, 90), scene(90, 60), 255 - scene(40, 40)]
    answers = predictor.many(given)
    assert len(answers) == 3
    for picture, answer in zip(given, answers, strict=True):
        assert_same(answer, predictor(picture))
    assert predictor.many([]) == []


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_boxes_of_the_oddest_pictures_stay_inside_them(resize: str, height: int, width: int) -> None:
    predictor = Predictor(tiny_model(resize=resize), device="cpu")
    found = predictor(np.full((height, width, 3), 128, np.uint8))
    assert found.boxes.isfinite().all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((5, 5, 3), np.float32), r"array of float32 \[5, 5, 3\].* uint8 RGB \[height, width, 3\]"),
        (np.zeros((5, 5), np.uint8), r"array of uint8 \[5, 5\]"),
        (np.zeros((3, 5, 5), np.uint8), r"array of uint8 \[3, 5, 5\]"),
        (np.zeros((0, 5, 3), np.uint8), r"array of uint8 \[0, 5, 3\]"),
        (torch.zeros(3, 5, 5), r"tensor of torch.float32 \[3, 5, 5\].* uint8 RGB \[3, height, width\]"),
        (torch.zeros(1, 3, 5, 5, dtype=torch.uint8), r"tensor of torch.uint8 \[1, 3, 5, 5\]"),
        (7, "int is not a picture: give a path, PIL image, array or tensor"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_would_be(predictor: Predictor, picture: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor(picture)


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
