"""The networks that a budget chooses from: a head on a MobileNetV2 of some width, for square images, in a precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from mnv2dense.runtimes.metadata import Precision

if TYPE_CHECKING:  # what could be chosen is told before torch is loaded
    from mnv2dense.models.dense_model import DenseModel


class HeadChoice(NamedTuple):
    """A head as a run would train it.

    Attributes:
        task: that it is for.
        group: its name in conf/head.
        options: all that its cost hangs on; what a preset says otherwise does not count.
        output_stride: of the backbone under it.
        others: choices of further groups that go with it, such as its loss.
    """

    task: str
    group: str
    options: Mapping[str, Any]
    output_stride: int = 32
    others: Mapping[str, str] = {}


_DEEPLAB: Final = {"aspp": False, "channels": 256, "decoder_channels": 48}

HEADS: Final[Mapping[str, HeadChoice]] = {
    "ssdlite": HeadChoice(
        "detection",
        "ssdlite",
        {
            "features": ["stride16_expanded", "last_conv"],
            "scores": "softmax",
            "extra_channels": [512, 256, 256, 128],
            "first_map_anchors": 3,
        },
    ),
    "points": HeadChoice(
        "detection",
        "points",
        {
            "features": ["stride8", "stride16", "stride16_expanded", "last_bottleneck", "last_conv"],
            "class_features": ["stride16_expanded", "last_conv"],
            "channels": 88,
            "tower_layers": 1,
        },
        others={"loss": "task_aligned"},
    ),
    "deeplab_v3": HeadChoice(
        "segmentation", "deeplab_v3", {"features": ["last_bottleneck"], **_DEEPLAB}, output_stride=16
    ),
    "deeplab_v3_plus": HeadChoice(
        "segmentation", "deeplab_v3", {"features": ["stride4", "last_bottleneck"], **_DEEPLAB}, output_stride=16
    ),
    "classifier": HeadChoice("classification", "classifier", {"features": ["last_conv"]}),
}
"""By the names that ``heads=`` takes."""

USUAL_CLASSES: Final[Mapping[str, int]] = {"detection": 80, "segmentation": 21, "classification": 1000}
"""By task: COCO's boxes, VOC's masks, ImageNet."""

TORCH: Final = "torch"

RUNTIMES: Final = ("openvino", "onnx", "litert", "executorch", TORCH)
"""That networks can be timed in here; the first of these that is installed is taken where none is named."""

TASKS: Final = tuple(dict.fromkeys(choice.task for choice in HEADS.values()))

_TARGETS: Final = {
    "ssdlite": "mnv2dense.heads.SSDLiteHead",
    "points": "mnv2dense.heads.PointHead",
    "deeplab_v3": "mnv2dense.heads.DeepLabV3Head",
    "classifier": "mnv2dense.heads.ClassifierHead",
}


@final
@dataclass(frozen=True, order=True)
class Network:
    """One of them, as a file.

    Attributes:
        head: a key of :data:`HEADS`.
        width: the backbone's ``width_mult``.
        size: side of the square input, pixels.
        classes: K.
        precision: of the file.
        decides: whether the file gives the answer itself: boxes after suppression, or the class of every pixel.
    """

    head: str
    width: float
    size: int
    classes: int
    precision: Precision = "fp32"
    decides: bool = True

    @property
    def task(self) -> str:
        """That it is for."""
        return HEADS[self.head].task

    def __str__(self) -> str:
        return f"{self.head} {self.width:g} at {self.size}, {self.precision}"

    def plain(self) -> dict[str, Any]:
        """For json; ``Network(**plain)`` is the same one."""
        return asdict(self)


def heads_of(task: str) -> tuple[str, ...]:
    """The names of heads for a task."""
    return tuple(name for name, choice in HEADS.items() if choice.task == task)


def model_config(network: Network) -> dict[str, Any]:
    """What :func:`mnv2dense.models.dense_model.build_model` takes; classes are numbered."""
    choice = HEADS[network.head]
    return {
        "size": [network.size, network.size],
        "class_names": [str(label) for label in range(network.classes)],
        "backbone": {
            "_target_": "mnv2dense.models.mobilenet_v2",
            "width_mult": network.width,
            "output_stride": choice.output_stride,
        },
        "head": {"_target_": _TARGETS[choice.group], **choice.options},
    }


def build(network: Network) -> DenseModel:
    """The network with random weights, in eval mode."""
    from mnv2dense.models.dense_model import build_model

    return build_model(model_config(network)).eval()


@cache
def _taken(width: float) -> tuple[int, ...]:
    from mnv2dense.backbones.layout import layout

    return tuple(row.out_channels for row in layout(width_mult=width).blocks)


def same_channels(width: float, other: float) -> bool:
    """Whether two widths are the same backbone: channels are multiples of 8."""
    return _taken(width) == _taken(other)
