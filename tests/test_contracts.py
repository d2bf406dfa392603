"""The seams: every part keeps its contract, and all ways to a prediction give the same one."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from mnv2dense import (
    DenseModel,
    MultiBoxLoss,
    SigmoidFocalLoss,
    TaskAlignedLoss,
    heads,
    losses,
    metrics,
)
from mnv2dense.backbones import BACKBONES
from mnv2dense.cli.shell import conf_folder
from mnv2dense.data import datasets
from mnv2dense.data import shapes as data_shapes
from mnv2dense.data.datasets import CocoDetection, CocoMasks, ImageFolder, JointDataset
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import ShapesWithMasks
from mnv2dense.data.shapes.classification import ShapeCrops
from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.inference.predictor import Predictor
from mnv2dense.models.backbone import FACTORIES, choice_of
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.protocols import (
    Backbone,
    BoxDataset,
    ClassRows,
    Dataset,
    GivesBoxColumns,
    Head,
    Loss,
    MaskDataset,
    Metric,
)
from mnv2dense.types import Detections
from tests.helpers.tiny import WIDTH, batch_of, on_backbone, random_images, tiny_model


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", train=1, val=3, size=64)


def assert_same(ours: Detections, theirs: Detections) -> None:
    """As sets of boxes: rounding may swap neighbours whose scores tie."""
    assert len(ours) == len(theirs) > 0
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-4)
    for box, score, label in zip(ours.boxes, ours.scores, ours.labels, strict=True):
        alike = (theirs.labels == label) & ((theirs.scores - score).abs() < 1e-4)
        assert ((theirs.boxes[alike] - box).abs().amax(dim=1) < 0.05).any()


@pytest.fixture(params=BACKBONES, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[nn.Module]:
    """Each backbone of ours in turn: none of these tests knows which it is."""
    found: type[nn.Module] = request.param
    return found


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_validation_predictor_and_raw_predictions_give_the_same_detections(
    shapes: Path, kind: type[nn.Module], resize: ResizeMode
) -> None:
    model = tiny_model(6, backbone=kind, resize=resize)
    data = CocoDetection(root=shapes, split="val")
    module = DataModule(train=None, val=data, size=model.size, resize=resize, batch_size=3, num_workers=0)
    (batch,) = module.val_dataloader()
    with torch.no_grad():
        validated = model.predict(batch.images, batch.infos)
        from_raw = model.results(model(batch.images), batch.infos)
    predictor = Predictor(model, device="cpu")
    for index, found in enumerate(validated):
        height, width = batch.infos.sizes[index].tolist()
        assert height != width  # shapes come in all proportions, or squash and letterbox would be one
        assert found.boxes[:, 0::2].max() <= width
        assert found.boxes[:, 1::2].max() <= height
        assert_same(from_raw[index], found)
        assert_same(predictor(data.path_of(int(batch.infos.image_ids[index]))), found)
        assert_same(predictor(data[index].image), found)


FEATURES = {
    "ClassifierHead": ("last_conv",),
    "DeepLabV3Head": ("stride4", "last_bottleneck"),
    "PointHead": ("stride8", "stride16", "last_bottleneck"),
    "SSDLiteHead": ("stride16_expanded", "last_conv"),
}


def test_every_head_is_tried() -> None:
    assert {*FEATURES, "JointHead"} == set(heads.__all__)  # which is made of others, see tests/heads/test_joint.py


@pytest.mark.parametrize("name", FEATURES)
def test_every_head_on_every_backbone_keeps_its_protocol(kind: type[nn.Module], name: str) -> None:
    backbone: Backbone = kind(width_mult=WIDTH, features=FEATURES[name])
    head: Head = getattr(heads, name)(backbone.feature_info, size=(96, 96), class_names=["a", "b"])
    assert isinstance(backbone, Backbone)
    assert isinstance(head, Head)
    assert list(head.config["features"]) == list(FEATURES[name])
    # What the model completes is not in a config, or it could not be completed.
    assert not backbone.config.keys() & {"features"}
    assert not head.config.keys() & {"size", "class_names"}


@pytest.mark.parametrize("name", FEATURES)
def test_every_head_says_which_rows_are_of_which_class(kind: type[nn.Module], name: str) -> None:
    """Told by what they do: with its rows at 0, and a bias far below all others, a class is nowhere."""
    backbone = kind(width_mult=WIDTH, features=FEATURES[name])
    head = getattr(heads, name)(backbone.feature_info, size=(96, 96), class_names=["a", "b", "c"])
    assert isinstance(head, ClassRows)
    tensors = dict(head.eval().named_parameters())
    info = backbone.feature_info
    maps = {key: torch.rand(4, info[key].channels, 96 // info[key].stride, 96 // info[key].stride) for key in info}
    for label in range(3):
        with torch.no_grad():
            for key, rows in head.class_rows().items():
                nn.init.normal_(tensors[key], std=0.01)
                tensors[key][[row for row, of in enumerate(rows) if of == label]] = (
                    -1e30 if key.endswith("bias") else 0.0
                )
            found = head.decode(head(maps, (96, 96)), (96, 96))
        scores = found if isinstance(found, Tensor) else found[0 if name == "DeepLabV3Head" else 1]
        by_class = scores.movedim(1 if name == "DeepLabV3Head" else -1, 0)
        constant = [bool((each == each.flatten()[0]).all()) for each in by_class]
        assert constant == [each == label for each in range(3)]


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_keeps_its_protocol_and_is_a_module_so_that_sums_hold_it(name: str) -> None:
    several = {"LossSum": "terms", "JointLoss": "parts"}
    options = {several[name]: {"dice": losses.DiceLoss()}} if name in several else {}
    loss: Loss = getattr(losses, name)(**options)
    assert isinstance(loss, Loss)
    assert isinstance(loss, nn.Module)


@pytest.mark.parametrize("name", [name for name in metrics.__all__ if name != "Promise"])  # what is asked of one
def test_every_metric_keeps_its_protocol(name: str) -> None:
    options = {"parts": {"own": metrics.Accuracy()}} if name in ("MetricGroup", "JointMetric") else {}
    assert_has(getattr(metrics, name)(**options), Metric)


def test_every_format_keeps_the_protocol_of_data_sets() -> None:
    public = [getattr(module, name) for module in (datasets, data_shapes) for name in module.__all__]
    formats = [each for each in public if isinstance(each, type)]
    assert len(formats) == 15
    methods = {name for name in vars(Dataset) if callable(getattr(Dataset, name)) and not name.startswith("_")}
    truths = ("coco_ground_truth", "mask_of")
    for dataset in formats:
        assert {name for name in ({*methods, "__len__", "__getitem__"}) if not hasattr(dataset, name)} == set(), dataset
        told = [truth for truth in truths if hasattr(dataset, truth)]
        assert len(told) == (0 if dataset in (ImageFolder, ShapeCrops, JointDataset, ShapesWithMasks) else 1), dataset


def test_data_sets_keep_the_protocols_of_their_truth(shapes: Path) -> None:
    boxes, masks = CocoDetection(root=shapes, split="val"), CocoMasks(root=shapes, split="val")
    assert isinstance(boxes, BoxDataset)
    assert not isinstance(boxes, MaskDataset)
    assert isinstance(masks, MaskDataset)
    assert not isinstance(masks, BoxDataset)
    truth = boxes.coco_ground_truth()
    assert list(boxes.category_ids) == [category["id"] for category in truth["categories"]]
    labels = [row["category_id"] - 1 for row in truth["annotations"]]
    assert boxes.box_counts == [labels.count(label) for label in range(6)]
    assert boxes.ignored_count == 0
    assert isinstance(boxes, GivesBoxColumns)
    columns = boxes.box_columns()
    assert columns.image_ids.tolist() == [image["id"] for image in truth["images"]]
    ids = columns.image_ids[columns.images]
    rows = zip(ids, columns.boxes, columns.labels, columns.crowds, columns.areas, strict=True)
    assert [(int(each[0]), each[1].tolist(), each[2] + 1, int(each[3]), each[4]) for each in rows] == [
        tuple(row[key] for key in ("image_id", "bbox", "category_id", "iscrowd", "area"))
        for row in truth["annotations"]
    ]


def assert_has(thing: object, protocol: type) -> None:
    wanted = {name for name in vars(protocol) if not name.startswith("_")}
    assert wanted
    assert {name for name in wanted if not hasattr(thing, name)} == set()


@pytest.mark.parametrize(
    ("build", "loss"),
    [
        (partial(tiny_model, scores="softmax"), MultiBoxLoss()),
        (partial(tiny_model, scores="sigmoid"), SigmoidFocalLoss()),
        (partial(on_backbone, head=heads.PointHead, features=FEATURES["PointHead"]), TaskAlignedLoss()),
    ],
    ids=["softmax", "sigmoid", "quality"],
)
def test_every_loss_of_boxes_gives_scalars_that_reach_the_whole_backbone(
    kind: type[nn.Module], build: Callable[..., DenseModel], loss: Loss
) -> None:
    model = build(backbone=kind).train()
    batch = batch_of(random_images(2), [[[10.0, 12.0, 60.0, 70.0]], [[30.0, 20.0, 90.0, 90.0]]], [[0], [2]])
    terms = loss(model(batch.images), batch)
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_every_feature_has_the_channels_and_stride_it_announces(kind: type[nn.Module]) -> None:
    names = ("stride2", "stride4", "stride8", "stride16", "stride16_expanded", "last_bottleneck", "last_conv")
    for output_stride in (8, 16, 32):
        backbone = kind(width_mult=WIDTH, output_stride=output_stride, features=names).eval()
        found = backbone(torch.zeros(1, 3, 64, 96))
        assert tuple(found) == names
        for name, info in backbone.feature_info.items():
            assert found[name].shape == (1, info.channels, 64 // info.stride, 96 // info.stride)


def test_every_backbone_is_rebuilt_from_its_config(kind: type[nn.Module]) -> None:
    backbone = kind(width_mult=0.5, output_stride=16, features=("stride8",), padding="tf", norm_eps=0.01)
    options = {key: value for key, value in backbone.config.items() if key != "_target_"}
    again = kind(features=("stride8",), **options)
    again.load_state_dict(backbone.state_dict())
    assert again.config == backbone.config
    # Every option but the features, which the head's config has.
    assert options.keys() == inspect.signature(kind).parameters.keys() - {"features"}


def test_every_backbone_is_a_choice_that_takes_its_options_and_weights(kind: type[nn.Module]) -> None:
    (factory,) = (each for each in FACTORIES if each.__name__ == choice_of(kind))
    assert type(factory(width_mult=WIDTH, features=("stride2",))) is kind
    assert inspect.signature(factory).parameters.keys() == inspect.signature(kind).parameters.keys() | {"weights"}
    choice = yaml.safe_load((conf_folder() / "backbone" / f"{choice_of(kind)}.yaml").read_text())
    assert choice["_target_"] == f"mnv2dense.models.{choice_of(kind)}"
    assert len(FACTORIES) == len(BACKBONES)


def test_every_backbone_can_be_traced_and_refuses_whole_numbers(kind: type[nn.Module]) -> None:
    backbone = kind(width_mult=WIDTH, features=("stride4", "stride8")).eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.fx.symbolic_trace(backbone)(images)["stride8"].equal(backbone(images)["stride8"])
    with pytest.raises(TypeError, match=r"mnv2dense\.Normalize\(backbone\.mean, backbone\.std\)\(images\)"):
        backbone((255 * images).byte())


@pytest.mark.parametrize("module", ["mnv2dense", "mnv2dense.reuse"])
def test_importing_the_package_loads_torch_alone(module: str) -> None:
    loaded = "{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)"
    program = f"import sys, torch; before = {loaded}; import {module}; print(*sorted({loaded} - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    # Through it rooms import their names when first used; it is one file and imports nothing.
    assert set(done.stdout.split()) - {"lazy_loader"} == {"mnv2dense"}


def test_importing_the_package_loads_nothing_heavy_even_if_torch_would() -> None:
    heavy = (
        "pytorch_lightning lightning hydra omegaconf albumentations pycocotools faster_coco_eval hotcoco "
        "torchvision cv2 PIL matplotlib safetensors rich tensorboard huggingface_hub h5py keras timm transformers "
        "segmentation_models_pytorch"
    )
    program = f"import mnv2dense, sys; print(*(name for name in '{heavy}'.split() if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
