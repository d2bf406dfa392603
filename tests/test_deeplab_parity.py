"""Google's VOC weights: transformers' own answer, and the official int8 file's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mnv2dense import DenseModel, Predictor, deeplabv3_mobilenet_v2, load_model
from mnv2dense.data.pictures import list_pictures, read_picture
from mnv2dense.geometry import resize

FOLDER = "deeplabv3_mobilenet_v2_1.0_513"


@pytest.fixture(scope="module")
def model(shared: Path) -> DenseModel:
    return deeplabv3_mobilenet_v2(weights=shared / "weights" / FOLDER).eval()


@pytest.fixture(scope="module")
def theirs(shared: Path) -> Any:  # noqa: ANN401
    transformers = pytest.importorskip("transformers")
    return transformers.MobileNetV2ForSemanticSegmentation.from_pretrained(shared / "weights" / FOLDER).eval()


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[Path]:
    return list_pictures(shared / "photos")


def squashed(path: Path, size: tuple[int, int] = (513, 513)) -> Tensor:
    return resize(torch.from_numpy(read_picture(path)).permute(2, 0, 1), size)[0][None]


@pytest.mark.filterwarnings("ignore")  # the peer's own
@pytest.mark.parametrize("size", [(513, 513), (257, 321)])
def test_the_logits_are_transformers_own(
    model: DenseModel,
    theirs: Any,  # noqa: ANN401
    photos: list[Path],
    size: tuple[int, int],
) -> None:
    for path in photos:
        picture = squashed(path, size)
        with torch.no_grad():
            ours, expected = model(picture), theirs(model.normalize(picture)).logits
        assert (ours - expected).abs().max() / expected.abs().max() < 1e-4


@pytest.mark.filterwarnings("ignore")
def test_the_classes_of_photos_in_their_own_pixels_are_transformers(
    model: DenseModel,
    theirs: Any,  # noqa: ANN401
    photos: list[Path],
) -> None:
    predictor = Predictor(model, device="cpu")
    for path in photos:
        height, width = read_picture(path).shape[:2]
        with torch.no_grad():
            logits = theirs(model.normalize(squashed(path))).logits
        # Enlarged in one step, corner on corner, as TensorFlow's DeepLab does.
        expected = F.interpolate(logits, (height, width), mode="bilinear", align_corners=True).argmax(dim=1)[0]
        assert (predictor(path).labels == expected).float().mean() >= 0.998, path.name


def test_the_official_int8_file_agrees_on_most_pixels(model: DenseModel, photos: list[Path], shared: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    official = litert.Interpreter(str(shared / "peers" / "deeplabv3_mnv2_pascal_quant.tflite"), num_threads=2)
    official.allocate_tensors()
    given, wanted = official.get_input_details()[0], official.get_output_details()[0]
    agreements = {}
    for path in photos:
        picture = squashed(path)
        official.set_tensor(given["index"], np.ascontiguousarray(picture.permute(0, 2, 3, 1).numpy()))
        official.invoke()
        expected = torch.from_numpy(official.get_tensor(wanted["index"])).squeeze()
        found = Predictor(model, device="cpu")(Image.fromarray(picture[0].permute(1, 2, 0).numpy())).labels
        assert expected.shape == found.shape == (513, 513)
        agreements[path.name] = float((found == expected).float().mean())
    # The wood under the parrot is what the two see otherwise; their weights are not the same to the last bit.
    assert min(agreements.values()) > 0.85, agreements
    assert sorted(agreements.values())[1] > 0.96, agreements


def test_the_folder_loads_as_a_whole_model_with_vocs_classes_and_colours(shared: Path) -> None:
    whole = load_model(shared / "weights" / FOLDER)
    assert whole.class_names[15] == "person"
    assert whole.head.palette[15] == (192, 128, 128)  # type: ignore[index]
    assert whole.size == (513, 513)
    assert whole.backbone.config["output_stride"] == 16


def test_its_backbone_goes_under_a_head_of_other_classes(shared: Path) -> None:
    weights = shared / "weights" / FOLDER
    model = deeplabv3_mobilenet_v2(5, weights_backbone=weights, size=(64, 64), decoder=True)
    assert model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)).shape == (1, 5, 16, 16)
    with pytest.raises(
        ValueError, match=r"a model of 21 classes; for another number give the file as weights_backbone"
    ):
        deeplabv3_mobilenet_v2(5, weights=weights)
    with pytest.raises(ValueError, match=r"weights of aspp=False, not True"):
        deeplabv3_mobilenet_v2(weights=weights, aspp=True)


def test_a_finer_output_stride_keeps_the_weights(shared: Path) -> None:
    model = deeplabv3_mobilenet_v2(weights=shared / "weights" / FOLDER, output_stride=8, size=(129, 129))
    assert model(torch.zeros(1, 3, 129, 129, dtype=torch.uint8)).shape[-1] == 17
