"""Test-time options of segmentation: what a trained model makes of an image when it is shown otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mnv2dense import DenseModel, Predictor, deeplabv3_mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes.segmentation import ShapeMasks
from mnv2dense.evaluation.score import score
from mnv2dense.inference.tta import TTA, View, _carried, _Frame, _frame, segment, with_output_stride
from mnv2dense.models.checkpoint import load_model, save_model
from mnv2dense.protocols import Dataset
from mnv2dense.types import Batch
from tests.helpers.made_once import small_run
from tests.helpers.tiny import command, random_images, tiny_model

SIZE = (65, 97)


def deeplab(*, size: tuple[int, int] = SIZE, aspp: bool = False, **options: Any) -> DenseModel:  # noqa: ANN401
    """In eval mode, with answers that differ from place to place: no class is ahead of the others everywhere."""
    torch.manual_seed(0)
    model = deeplabv3_mobilenet_v2(4, width_mult=0.35, size=size, channels=16, aspp=aspp, **options)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return balanced(model.eval())


def balanced(model: DenseModel) -> DenseModel:
    """The same model with each class's logits moved and stretched to mean 0 and deviation 1 on ``scene``."""
    classifier: Any = model.head.classifier
    with torch.no_grad():
        logits = model(scene(*model.size)[None])
        spread = logits.std(dim=(0, 2, 3))
        classifier.weight /= spread[:, None, None, None]
        classifier.bias.copy_((classifier.bias - logits.mean(dim=(0, 2, 3))) / spread)
    return model


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return deeplab(align_corners=True)


def scene(height: int, width: int) -> Tensor:
    """Blocks of colours as uint8 [3, H, W]; the same enlarged is much the same image."""
    coarse = random_images(1, (5, 7), seed=3)[0].float()
    return torch.nn.functional.interpolate(coarse[None], (height, width), mode="nearest")[0].to(torch.uint8)


def agreement(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one == other).float().mean())


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("picture", [(65, 97), (120, 90), (1, 1), (1, 5000)])
def test_the_defaults_are_what_the_model_does_anyway(resize: Any, picture: tuple[int, int]) -> None:  # noqa: ANN401
    model = deeplab(resize=resize)
    image = random_images(1, picture)[0]
    plain = Predictor(model, device="cpu")(image)
    assert torch.equal(Predictor(model, device="cpu", test_time=TTA())(image).labels, plain.labels)
    assert TTA.of({"view": "model", "scales": [1.0], "flip": False, "overlap": 0.25}) is None


@pytest.mark.parametrize("view", ["model", "letterbox", "whole", "windows"])
@pytest.mark.parametrize("image", [(1, 1), (1, 600), (200, 1), (65, 96), (90, 110)])
def test_every_image_gets_a_class_for_each_of_its_pixels(view: View, image: tuple[int, int]) -> None:
    model = deeplab(size=(64, 96))
    viewing = TTA(view=view, scales=(0.5, 1.3), flip=True)
    found = segment(model, random_images(1, image)[0], viewing)
    assert found.labels.shape == image
    assert found.labels.dtype == torch.uint8
    assert found.labels.max() < 4
    assert found.class_names == model.class_names


@pytest.mark.parametrize("view", ["model", "whole", "windows"])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.75)])
def test_the_mirrored_image_gets_the_mirrored_classes(view: View, scales: tuple[float]) -> None:
    model = deeplab(size=(64, 96))
    image = scene(64, 192)  # at each scale a multiple of the stride: no odd column of grey stands on one side

    def symmetry(viewing: TTA) -> float:
        there, back = (segment(model, given, viewing).labels for given in (image, image.flip(-1)))
        assert len(there.unique()) > 1
        return agreement(back.flip(-1), there)

    assert symmetry(TTA(view=view, scales=scales, flip=True)) > 0.999
    assert symmetry(TTA(view=view, scales=scales)) < 0.999


@pytest.mark.parametrize("picture", [SIZE, (40, 97), (11, 20)])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_a_window_as_large_as_the_image_is_the_whole_image(
    model: DenseModel, picture: tuple[int, int], scales: tuple[float]
) -> None:
    image = scene(*picture)
    whole, windows = (segment(model, image, TTA(view=view, scales=scales)) for view in ("whole", "windows"))
    assert torch.equal(windows.labels, whole.labels)


def test_a_image_of_the_models_size_is_seen_whole_as_it_was_trained(model: DenseModel) -> None:
    image = scene(*SIZE)
    expected = segment(model, image, TTA()).labels
    for view in ("letterbox", "whole", "windows"):
        assert torch.equal(segment(model, image, TTA(view=view)).labels, expected)


def test_windows_see_their_parts_as_images_of_their_own(model: DenseModel) -> None:
    # Two windows without overlap, on the cells of stride 16: an image of 65 x 209 has 97 + 112.
    image = torch.cat([scene(65, 97), scene(65, 112).flip(-1)], dim=2)
    found = segment(model, image, TTA(view="windows", overlap=0.0)).labels
    alone = segment(model, image[:, :, :97], TTA()).labels
    # Past the first window's middle the next ones are blended in.
    assert torch.equal(found[:, :32], alone[:, :32])


def test_windows_bound_what_the_network_sees_at_once(model: DenseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[int]] = []
    forward = DenseModel.forward

    def recorded(self: DenseModel, images: Tensor) -> Any:  # noqa: ANN401
        seen.append(images.shape)
        return forward(self, images)

    monkeypatch.setattr(DenseModel, "forward", recorded)
    segment(model, random_images(1, (200, 300))[0], TTA(view="windows", scales=(1.0, 2.0)))
    assert {tuple(shape[2:]) for shape in seen} == {SIZE}
    assert max(shape[0] for shape in seen) <= 4
    seen.clear()
    segment(model, random_images(1, (200, 300))[0], TTA(view="whole", scales=(0.5, 1.0, 1.75)))
    # Of sides like the model's own: 1 more than a multiple of 16.
    assert [tuple(shape[2:]) for shape in seen] == [(353, 529), (209, 305), (113, 161)]


def test_scales_see_the_same_places() -> None:
    """An image of vertical stripes: what each scale says of a stripe lands on that stripe, whatever the padding."""
    model = deeplab(align_corners=True)
    brightness_to_class(model)
    image = torch.zeros(3, 130, 170, dtype=torch.uint8)
    image[:, :, 85:] = 255
    expected = (torch.arange(170) >= 85).expand(130, 170)
    for view in ("model", "letterbox", "whole", "windows"):
        for scales in ((1.0,), (0.5,), (1.75,), (0.5, 1.0, 1.75)):
            found = segment(model, image, TTA(view=view, scales=scales, flip=True)).labels
            wrong = (found == 3) != expected
            assert wrong[:, :75].sum() == wrong[:, 95:].sum() == 0, (view, scales)


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("view", ["model", "letterbox", "whole"])
def test_what_one_scale_says_is_carried_to_the_same_pixels_of_another(view: View, corners: bool) -> None:
    model = deeplab(align_corners=corners)
    largest, other = (_frame(model, random_images(1, (130, 170))[0], view, scale) for scale in (1.75, 0.75))

    def places(frame: _Frame) -> Tensor:
        """The row and column of the image that each cell stands for, as logits of two classes."""
        sides = []
        for side in frame.sides:
            count = -(-side.pixels // 16)
            pixel = torch.arange(count) * (side.pixels - 1) / (count - 1) + 0.5
            if not corners:
                pixel = (torch.arange(count) + 0.5) * side.pixels / count
            sides.append((pixel - side.offset) / side.scale)
        return torch.stack(torch.meshgrid(*sides, indexing="ij"))

    expected = places(largest)
    carried = _carried(places(other), other, largest, expected.shape[1:], model)
    rows, columns = expected
    beyond = 10 if corners else 25  # where there are no cells to read between
    inner = (rows > beyond) & (rows < 130 - beyond) & (columns > beyond) & (columns < 170 - beyond)
    assert inner.sum() > 20
    torch.testing.assert_close(carried[:, inner], expected[:, inner], rtol=0, atol=1e-3)


def brightness_to_class(model: DenseModel) -> None:
    """Replace the network by one whose cells name class 3 where the image is bright, else class 0."""

    class Brightness(torch.nn.Module):
        feature_info = model.backbone.feature_info

        def forward(self, images: Tensor) -> Mapping[str, Tensor]:
            return {"last_bottleneck": images.mean(dim=1, keepdim=True)[..., ::16, ::16]}

    model.backbone = Brightness()
    head = model.head
    head.forward = lambda features, size: torch.cat(  # type: ignore[union-attr, method-assign]
        [-features["last_bottleneck"], *[torch.full_like(features["last_bottleneck"], -9.0)] * 2,
         features["last_bottleneck"]], dim=1,
    )  # fmt: skip


def test_an_output_stride_of_8_has_the_same_parameters_and_finer_answers() -> None:
    model = deeplab(aspp=True)
    finer = with_output_stride(model, 8)
    assert [branch[0].dilation[0] for branch in finer.head.branches][1:] == [12, 24, 36]  # type: ignore[index, union-attr]
    ours, theirs = model.state_dict(), finer.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    images = random_images(1, SIZE)
    assert model(images).shape == (1, 4, 5, 7)
    assert finer(images).shape == (1, 4, 9, 13)
    given = random_images(1, (50, 60))[0]
    assert Predictor(finer, device="cpu")(given).labels.shape == (50, 60)
    assert model.config["backbone"]["output_stride"] == 16
    assert not finer.training


def test_a_decoders_logits_are_finer_than_the_deep_map() -> None:
    model = deeplab(decoder=True, size=(72, 104))
    image = scene(72, 104)
    expected = segment(model, image, TTA()).labels
    assert torch.equal(segment(model, image, TTA(view="windows")).labels, expected)
    found = segment(model, scene(100, 230), TTA(view="windows", scales=(1.0, 1.5)))
    assert found.labels.shape == (100, 230)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "tiles"}, r"test_time.view='tiles': choose one of model, letterbox, whole, windows"),
        ({"scales": ()}, r"test_time.scales=\(\) must be a list of factors, as in \[0.5,1.0,1.5\]"),
        ({"scales": 1.5}, r"test_time.scales=1.5 must be a list"),
        ({"scales": ["half"]}, r"test_time.scales has 'half': factors are 0.1 to 4.0"),
        ({"scales": [1.0, 0.0]}, r"test_time.scales has 0.0: factors are 0.1 to 4.0; the paper's are 0.5, 0.75"),
        ({"scales": [float("nan")]}, r"test_time.scales has nan"),
        ({"flip": "maybe"}, r"test_time.flip='maybe' must be true or false"),
        ({"overlap": 1.0}, r"test_time.overlap=1.0 must be 0 to 0.9"),
    ],
)
def test_an_option_outside_its_values_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TTA(**options)


def test_boxes_and_classes_have_no_test_time_options(model: DenseModel) -> None:
    detector = tiny_model()
    with pytest.raises(ValueError, match="test_time is for segmentation, and this model is for detection"):
        Predictor(detector, device="cpu", test_time=TTA(flip=True))
    with pytest.raises(ValueError, match="output_stride is for segmentation, and this model is for classification"):
        with_output_stride(mobilenet_v2_classifier(3, width_mult=0.35), 8)
    with pytest.raises(ValueError, match="output_stride=4 must be one of 8, 16, 32"):
        with_output_stride(model, 4)
    with pytest.raises(RuntimeError, match="eval mode"):
        segment(deeplab().train(), scene(64, 64), TTA())


class Given:
    """A metric that only keeps what it was given."""

    headlines: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[int, ...]] = {}

    def bind(self, dataset: Dataset) -> None: ...

    def reset(self) -> None: ...

    def update(self, results: Sequence[Any], batch: Batch) -> None:
        for image_id, result in zip(batch.infos.image_ids.tolist(), results, strict=True):
            assert image_id not in self.shapes
            self.shapes[image_id] = tuple(result.labels.shape)

    def compute(self) -> dict[str, float]:
        return {"pictures": len(self.shapes)}

    def write(self, folder: Path) -> None: ...


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("processes", [1, 2])
def test_every_image_is_scored_once_in_its_own_size(model: DenseModel, processes: int) -> None:
    dataset = ShapeMasks(split="val", train_images=16, val_images=8, limit=5)
    scored: dict[int, tuple[int, ...]] = {}
    for rank in range(processes):
        datamodule = DataModule(train=None, val=dataset, size=SIZE, num_workers=0)
        datamodule.trainer = SimpleNamespace(global_rank=rank, world_size=processes, num_devices=1)  # type: ignore[assignment]
        metric, steps = Given(), []
        score(model, datamodule, metric, test_time=TTA(view="whole"), advance=steps.append)
        assert sum(steps) == len(metric.shapes) < 5 + (processes == 1)
        assert not scored.keys() & metric.shapes.keys()
        scored |= metric.shapes
    samples = [dataset[index] for index in range(5)]
    assert scored == {sample.image_id: sample.image.shape[:2] for sample in samples}


@pytest.fixture(scope="module")
def cache() -> Path:
    """With the data of the run."""
    return small_run("segmentation").cache


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    shutil.copytree(small_run("segmentation").folder, run)
    # Two epochs may teach it to say background everywhere, whatever the view.
    save_model(balanced(load_model(run)), run / "checkpoints/best.ckpt")
    return run


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_evaluating_takes_the_options(trained: Path) -> None:
    asked = ("test_time.view=windows", "test_time.scales=[0.2,0.3]", "test_time.flip=true", "output_stride=8")
    for options in (("run_dir=plain", "test_time=null"), ("run_dir=scores", *asked)):
        outcome = command("evaluate", f"checkpoint={trained}", "device=cpu", *options)
        assert outcome.code == 0, outcome.err
    scores = json.loads(Path("scores/metrics.json").read_text())
    assert {"mIoU", "pixel_accuracy", "mean_accuracy", "fwIoU", "boundary_IoU", "IoU/background"} <= scores.keys()
    assert outcome.out.rstrip().splitlines()[-1] == "scores"
    assert Path("scores/samples.jpg").is_file()
    config = Path("scores/config.yaml").read_text()
    assert "view: windows" in config
    assert "output_stride: 8" in config
    assert scores != json.loads(Path("plain/metrics.json").read_text())


@pytest.mark.usefixtures("place")
def test_predicting_takes_the_options(trained: Path) -> None:
    Image.fromarray(np.full((40, 170, 3), 90, np.uint8)).save("a.png")
    asked = ("test_time.view=whole", "test_time.flip=true", "output_stride=8")
    outcome = command("predict", f"checkpoint={trained}", "source=a.png", "run_dir=out", "device=cpu", *asked)
    assert outcome.code == 0, outcome.err
    with Image.open("out/labels/a.png") as labels:
        assert labels.size == (170, 40)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("test_time.view=tiles", "test_time.view='tiles': choose one of model, letterbox, whole, windows."),
        ("test_time.scales=2", "test_time.scales=2 must be a list of factors, as in [0.5,1.0,1.5]."),
        ("test_time=whole", "test_time=whole: its options are set one by one, as in test_time.view=whole."),
        ("test_time.overlap=much", "test_time.overlap=much: a number is needed, as in test_time.overlap=0.25."),
        ("test_time.veiw=whole", "test_time.veiw: there is no such option; did you mean test_time.view?"),
        ("output_stride=12", "output_stride=12 must be one of 8, 16, 32."),
    ],
)
def test_a_wrong_option_is_one_line(trained: Path, option: str, message: str) -> None:
    outcome = command("evaluate", f"checkpoint={trained}", "device=cpu", "run_dir=scores", option)
    assert outcome.code == 2
    assert message in outcome.err
    assert not Path("scores").exists()
