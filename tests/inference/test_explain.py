"""Where a model looked: known where a model reads one channel, and found inside the box where one was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mnv2dense import DenseModel, Explanation, Predictor, Tiles, explain
from mnv2dense.data.shapes import Shapes
from mnv2dense.heads import ClassifierHead, DeepLabV3Head, JointHead
from mnv2dense.inference.explain_options import METHODS
from mnv2dense.inference.explanation import NothingFoundError, first_component
from mnv2dense.ops.resize import Fit, ResizeMode, fit, map_to_original
from mnv2dense.types import FeatureInfo
from tests.helpers.small_models import classifier as small_classifier
from tests.helpers.small_models import detector, detector_on_v1, point_detector, segmenter
from tests.helpers.tiny import command, random_images

SIZE = (64, 64)


class Colours(nn.Module):
    """A backbone whose feature is the image's own red, green and blue, averaged over cells of 8 pixels; grey is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = {"cells": FeatureInfo(channels=3, stride=8)}
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self.config: dict[str, Any] = {"_target_": "Colours"}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"cells": nn.functional.avg_pool2d((2 * x - 1).clamp_min(0), 8)}


def classifier(resize: ResizeMode = "squash") -> DenseModel:
    """Of the classes red, green and blue, each by its own channel alone."""
    backbone = Colours()
    head = ClassifierHead({"cells": backbone.feature_info["cells"]}, size=SIZE, class_names=("red", "green", "blue"))
    with torch.no_grad():
        head.classifier.weight.copy_(4 * torch.eye(3))
    return DenseModel(backbone, head, size=SIZE, resize=resize).eval()


def picture(height: int, width: int, **squares: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Black, with a square of 16 pixels of a colour at each (x, y)."""
    image = np.zeros((height, width, 3), np.uint8)
    for name, (x, y) in squares.items():
        image[y : y + 16, x : x + 16, ("red", "green", "blue").index(name)] = 255
    return image


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
@pytest.mark.parametrize("name", ["red", "green"])
def test_of_a_head_that_reads_one_channel_the_map_is_that_channel(method: str, name: str) -> None:
    image = picture(64, 64, red=(8, 8), green=(40, 40))
    found = explain(Predictor(classifier(), device="cpu"), image, method=method, name=name)
    channel = image[..., ("red", "green", "blue").index(name)] / 255
    cells = torch.from_numpy(channel.reshape(8, 8, 8, 8).mean(axis=(1, 3))).float()
    np.testing.assert_allclose(
        found.heat, map_to_original(cells, SIZE, Fit(1.0, 1.0, 0.0, 0.0), SIZE).numpy(), atol=1e-6
    )
    assert (found.name, found.label, found.box) == (name, ("red", "green").index(name), None)
    assert found.score is not None
    assert 0 < found.score < 1


def test_eigencam_shows_what_most_of_the_feature_is_whatever_is_asked_for() -> None:
    image = picture(64, 64, red=(8, 8), green=(40, 40))
    image[..., 1] //= 4
    image[..., 1] *= 3  # the red one is brighter
    predictor = Predictor(classifier(), device="cpu")
    red, green = (explain(predictor, image, method="eigencam", name=name).heat for name in ("red", "green"))
    np.testing.assert_array_equal(red, green)
    assert red[16, 16] == 1
    assert abs(red[48, 48]) < 1e-6


@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 4, 5)])
def test_the_first_component_is_that_of_the_singular_values(shape: tuple[int, int, int]) -> None:
    feature = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    _, values, vectors = torch.linalg.svd(feature.flatten(1).T.double(), full_matrices=False)
    expected = (feature.flatten(1).T.double() @ vectors[0]).reshape(shape[1:])
    torch.testing.assert_close(first_component(feature), expected * expected.sum().sign())
    assert values[0] > values[1]


# --- back to the image -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "x", "y"), [(64, 256, 180, 24), (256, 64, 24, 60), (120, 160, 100, 20)])
@pytest.mark.parametrize("mode", ["squash", "letterbox"])
def test_the_map_lies_where_the_image_is_whatever_the_resize(
    mode: ResizeMode, height: int, width: int, x: int, y: int
) -> None:
    image = picture(height, width, red=(x, y))
    heat = explain(Predictor(classifier(mode), device="cpu"), image, name="red").heat
    assert heat.shape == (height, width)
    rows, columns = np.mgrid[:height, :width] + 0.5
    cell = 4 * max(height / 64, width / 64)  # half of it
    assert abs((heat * columns).sum() / heat.sum() - (x + 8)) <= cell
    assert abs((heat * rows).sum() / heat.sum() - (y + 8)) <= cell


def test_what_a_crop_cuts_off_was_not_looked_at() -> None:
    image = picture(64, 256, red=(120, 24))
    image[..., 0] = 255
    heat = explain(Predictor(classifier("crop"), device="cpu"), image, name="red").heat
    seen = 64 * 0.875  # pixels of the shorter side, in the middle
    assert heat[32, 128] == 1
    assert (heat > 0).any(axis=0).sum() == (heat > 0).any(axis=1).sum() == seen


def test_a_map_comes_back_as_its_cells_were_laid() -> None:
    ramp = torch.arange(4.0).expand(4, 4)
    whole = map_to_original(ramp, (8, 8), fit(8, 8, (8, 8)), (8, 8))
    torch.testing.assert_close(whole[0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))
    # Letterboxed: the image fills columns 2 to 6 of the input, cells 1 and 2.
    tall = map_to_original(ramp, (8, 4), fit(8, 4, (8, 8), "letterbox"), (8, 8))
    torch.testing.assert_close(tall[0], torch.tensor([0.75, 1.25, 1.75, 2.25]))


# --- boxes, masks, several heads -------------------------------------------------------------------------------------


def test_of_a_trained_detector_the_map_lies_in_the_box(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV2DENSE_CACHE", str(cache))
    data = Shapes(split="val", train_images=1, val_images=8)
    predictor = Predictor("shapes", threshold=0.4, device="cpu", task="detection")
    shares = []
    for index in range(8):
        image = data[index].image
        for place, box in enumerate(predictor(image)):
            found = explain(predictor, image, index=place)
            assert found.name == box.name
            assert found.box == pytest.approx(box.xyxy, abs=0.01)
            left, top, right, bottom = (round(edge) for edge in box.xyxy)
            inside = found.heat[top:bottom, left:right]
            others = found.heat.size - inside.size
            assert found.heat.max() == 1
            shares.append(inside.sum() / found.heat.sum())
            assert inside.mean() > (found.heat.sum() - inside.sum()) / others
    assert len(shares) > 15
    assert np.mean(shares) > 0.65


def masks_of_colours() -> DenseModel:
    """The class of a pixel is its colour, or background where it has none."""
    backbone = Colours()
    head = DeepLabV3Head(
        {"cells": backbone.feature_info["cells"]}, size=SIZE, class_names=("background", "red", "green"), channels=4
    )
    with torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
        head.branches[0][0].weight[:3, :, 0, 0] = torch.eye(3)  # type: ignore[index]
        head.projection[0].weight[:3, 4:7, 0, 0] = torch.eye(3)  # type: ignore[operator]
        head.classifier.weight[1, 0] = head.classifier.weight[2, 1] = 1
        head.classifier.bias.copy_(torch.tensor([0.2, 0.0, 0.0]))  # type: ignore[union-attr]
    return DenseModel(backbone, head, size=SIZE).eval()


def test_of_masks_the_map_is_of_the_class_that_is_asked_for() -> None:
    image = picture(64, 64, red=(8, 8), green=(40, 40))
    image[32:64, 0:24, 0] = 255  # more red than green
    predictor = Predictor(masks_of_colours(), device="cpu")
    largest, green = explain(predictor, image), explain(predictor, image, name="green")
    assert (largest.name, largest.score, green.name) == ("red", None, "green")
    assert largest.heat[48, 10] == pytest.approx(1, abs=1e-3)
    assert largest.heat[48, 48] == 0
    assert green.heat[48, 48] == pytest.approx(1, abs=1e-3)
    assert green.heat[16, 16] == 0
    with pytest.raises(NothingFoundError, match="no pixel is taken for green"):
        explain(predictor, picture(64, 64, red=(8, 8)), name="green")
    with pytest.raises(NothingFoundError, match="no pixel is taken for anything but background"):
        explain(predictor, picture(64, 64))


def test_a_head_of_several_is_named() -> None:
    backbone = Colours()
    parts = {"colour": classifier().head, "masks": masks_of_colours().head}
    predictor = Predictor(DenseModel(backbone, JointHead(parts), size=SIZE).eval(), device="cpu")
    image = picture(64, 64, red=(8, 8), green=(40, 40))
    assert explain(predictor, image).name == "colour/red"
    unsure = Predictor(predictor.model, threshold=0.9, device="cpu")  # as a threshold of boxes leaves classes
    assert explain(unsure, image).name == "colour/red"
    assert explain(predictor, image, head="masks", name="green").name == "masks/green"
    with pytest.raises(ValueError, match=r"explain\.head=boxes: no head is called so; there are colour, masks\."):
        explain(predictor, image, head="boxes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "scorecam"}, r"explain\.method=scorecam: choose one of hirescam, gradcam, eigencam\."),
        ({"name": "pink"}, r"explain\.class=pink: no class is called so; there are red, green, blue\."),
        ({"head": "boxes"}, r"explain\.head=boxes: this model has a single head; leave it out\."),
        ({"index": 3}, r"no class number 3: there are 3\."),
    ],
)
def test_what_cannot_be_explained_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain(Predictor(classifier(), device="cpu"), picture(64, 64), **options)


def test_tiles_and_exported_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = Predictor("shapes", device="cpu", tiles=Tiles(size=64))
    with pytest.raises(ValueError, match="looks at an image once and whole: leave tiles and test_time out"):
        explain(tiled, picture(64, 64))
    predictor = Predictor(classifier(), device="cpu")
    monkeypatch.setattr(predictor, "model", object())
    with pytest.raises(ValueError, match="an exported file gives no features: give the checkpoint"):
        explain(predictor, picture(64, 64))


@pytest.mark.parametrize("made", [detector, detector_on_v1, point_detector, segmenter, small_classifier])
def test_heads_of_all_kinds_are_explained(made: Callable[[], DenseModel]) -> None:
    image = random_images(1, (90, 130))[0].permute(1, 2, 0).numpy()
    predictor = Predictor(made(), device="cpu")
    best = predictor(image)[0]
    for method in METHODS:
        found = explain(predictor, image, method=method)
        assert found.name == best.name
        assert found.heat.shape == (90, 130)
        assert found.heat.min() >= 0
        assert found.heat.max() in (0, 1)
    assert found.heat.max() == 1


# --- drawn -----------------------------------------------------------------------------------------------------------


def test_what_was_not_looked_at_stays_clear() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[:8] = 1
    image = np.full((64, 64, 3), 90, np.uint8)
    drawn = np.asarray(Explanation(heat, "gradcam", "red", 0, None, (40.0, 40.0, 60.0, 60.0), image).plot())
    assert (drawn[10:20, :10] == 90).all()
    assert (drawn[2, 32] > 150).any()


@pytest.mark.usefixtures("place")
def test_the_command_draws_a_map_of_each_image_that_shows_the_class() -> None:
    Path("photos").mkdir()
    Image.fromarray(np.full((80, 80, 3), 128, np.uint8)).save("photos/empty.png")
    data = Shapes(split="val", train_images=1, val_images=8)
    found = next(data[index] for index in range(8) if data[index].labels is not None and 2 in data[index].labels)  # type: ignore[operator]
    Image.fromarray(found.image).save("photos/triangles.png")
    options = ("checkpoint=shapes", "source=photos", "run_dir=out", "device=cpu")
    outcome = command("predict", *options, "explain=true", "explain.class=triangle", "explain.method=gradcam")
    assert outcome.code == 0, outcome.err
    assert [path.name for path in Path("out/explained").iterdir()] == ["triangles.jpg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain=eigencam"], "explain: true or false is needed"),
        (["explain.method=eigencam"], "explain.method=eigencam is of what is explained: add explain=true."),
        (["explain=true", "explain.object=-1"], "explain.object=-1: a whole number is needed"),
        (["explain=true", "explain.method=best"], "explain.method=best: choose one of"),
        (["explain=true", "output=labels.parquet"], "explain=true goes into a run folder"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_wrong_option_is_named_before_a_model_is_loaded(words: list[str], message: str) -> None:
    Image.new("RGB", (8, 8)).save("a.png")
    outcome = command("predict", "checkpoint=shapes", "source=a.png", *words)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
