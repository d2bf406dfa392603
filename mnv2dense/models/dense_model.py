"""The model: normalisation, backbone and head in one module, the same for training, evaluation, demo and export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from mnv2dense.heads.joint import JointHead
from mnv2dense.models.construct import construct
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.models.normalize import Normalize
from mnv2dense.ops.postprocess import Selection, box_parts, scored_parts
from mnv2dense.ops.resize import RESIZE_MODES, ResizeMode
from mnv2dense.types import FeatureInfo, Infos, Thresholds
from mnv2dense.types.temperatures import kept_temperatures, read_temperatures
from mnv2dense.types.thresholds import kept, read_kept
from mnv2dense.utils.device import device_of
from mnv2dense.utils.joint_names import part_names
from mnv2dense.utils.numbers import whole
from mnv2dense.utils.renamed import address_now


@final
class DenseModel(nn.Module):
    """uint8 images in, a head's predictions out; a :class:`mnv2dense.protocols.Model`.

    Train on ``model(images)``; evaluate and demonstrate with :meth:`predict`; export :meth:`forward` and
    :meth:`decode`. Normalisation is inside, so that nobody outside has to know the weights' mean and std.

    Args:
        backbone: see :class:`mnv2dense.protocols.Backbone`.
        head: see :class:`mnv2dense.protocols.Head`; built on the backbone's ``feature_info``.
        size: (height, width) that images are resized to, pixels.
        resize: how they get there, see :data:`mnv2dense.ops.resize.ResizeMode`.
        category_ids: what each label is called in the data set's own json, for files of predictions; COCO's have
            gaps. Left out, labels + 1.
        thresholds: what :meth:`keep_thresholds` left in a config; None where nothing was kept.
        temperatures: likewise, of :meth:`keep_temperatures`.

    Raises:
        ValueError: a part that lacks what its contract promises, or options that do not belong together.

    Attributes:
        class_names: the head's classes.
        task: the head's, "detection", "segmentation", "classification" or "joint".
        config: plain values from which :func:`build_model` makes the same model, without weights.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        size: tuple[int, int],
        resize: ResizeMode = "squash",
        category_ids: Sequence[int] | None = None,
        thresholds: Mapping[str, Any] | None = None,
        temperatures: float | Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        _check_part("backbone", backbone, ("feature_info", "mean", "std", "config"))
        _check_part("head", head, ("task", "class_names", "config", "selection"))
        if resize not in RESIZE_MODES:
            raise ValueError(f"resize={resize!r} must be one of {', '.join(RESIZE_MODES)}.")
        if resize == "crop" and head.task in ("detection", "joint"):
            raise ValueError("resize='crop' would cut objects off: choose squash or letterbox for boxes.")
        self.normalize = Normalize(backbone.mean, backbone.std)  # type: ignore[arg-type]
        self.backbone = backbone
        self.head = head
        self.size = size
        self.resize: ResizeMode = resize
        self.task = str(head.task)
        self.class_names: tuple[str, ...] = tuple(head.class_names)  # type: ignore[arg-type]
        self.category_ids = tuple(category_ids or range(1, len(self.class_names) + 1))
        if len(self.category_ids) != len(self.class_names):
            raise ValueError(
                f"{len(self.category_ids)} category_ids for {len(self.class_names)} class_names, one each is needed."
            )
        self.config: dict[str, Any] = {
            "size": list(size),
            "resize": resize,
            "class_names": list(self.class_names),
            "category_ids": list(self.category_ids),
            "backbone": backbone.config,
            "head": head.config,
        }
        if thresholds:
            self.keep_thresholds(read_kept(thresholds, self._boxes()))
        if temperatures is not None:
            self.keep_temperatures(read_temperatures(temperatures, scored_parts(self.selection)))

    def keep_thresholds(self, thresholds: Mapping[str, Thresholds]) -> None:
        """Take the scores from which on boxes are shown with ``threshold="auto"``, in the place of those before.

        They belong to the weights, and travel in :attr:`config`: into checkpoints, folders and exported files.

        Args:
            thresholds: name of the head -> its own; "" is an only head.

        Raises:
            ValueError: of heads or classes that the model does not have.
        """
        config = kept(thresholds)
        read_kept(config, self._boxes())
        self.config["thresholds"] = config

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """What is kept of them, by the names of heads; "" is an only head. Nothing of a model that has none."""
        return read_kept(self.config.get("thresholds"), self._boxes())

    def keep_temperatures(self, temperatures: Mapping[str, float]) -> None:
        """Take what makes scores say how often they are right, in the place of those before; see ``calibrated``.

        Args:
            temperatures: name of the head -> what its logits are divided by; "" is an only head.

        Raises:
            ValueError: of a head without scores, or no number above 0.
        """
        config = kept_temperatures(temperatures)
        read_temperatures(config, scored_parts(self.selection))
        self.config["temperatures"] = config

    @property
    def temperatures(self) -> dict[str, float]:
        """What is kept of them, by the names of heads; "" is an only head. Nothing of a model that has none."""
        return read_temperatures(self.config.get("temperatures"), scored_parts(self.selection))

    def _boxes(self) -> dict[str, tuple[str, ...]]:
        return {name: part.class_names for name, part in box_parts(self.selection).items()}

    @property
    def name(self) -> str:
        """Backbone, width and head in a few words."""
        backbone, head = type(self.backbone).__name__, getattr(self.head, "title", type(self.head).__name__)
        width = self.config["backbone"].get("width_mult")
        return f"{backbone}{'' if width is None else f' {float(width):g}'} {head}"

    @property
    def selection(self) -> Selection:
        """The head's: decides what :meth:`predict` returns."""
        selection: Selection = self.head.selection  # type: ignore[assignment]
        return selection

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def files(self) -> tuple[Path, ...]:
        """None: the model is in memory."""
        return ()

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401 - each head has its own raw type
        """uint8 [B, 3, H, W], RGB -> the head's raw predictions."""
        return self.head(self.backbone(self.normalize(images)), (images.shape[-2], images.shape[-1]))

    def decode(self, raw: Any, size: tuple[int, int] | None = None) -> Any:  # noqa: ANN401
        """Raw predictions -> tensors of fixed shape in pixels of the model's input (``size``, default the model's)."""
        return self.head.decode(raw, size or self.size)  # type: ignore[operator]

    @torch.no_grad()
    def predict(self, images: Tensor, infos: Infos) -> list[Any]:
        """uint8 [B, 3, H, W] -> one typed result per image, in its original pixels.

        Raises:
            RuntimeError: the model is in training mode, where predicting would change its batch-norm statistics.
        """
        self._refuse_training("predict")
        return self.select(self.decoded(images), infos)

    @torch.no_grad()
    def decoded(self, images: Tensor) -> Any:  # noqa: ANN401
        """uint8 [B, 3, H, W] -> what the head decodes of them, before any decision.

        Raises:
            RuntimeError: the model is in training mode, where answering would change its batch-norm statistics.
        """
        self._refuse_training("decoded")
        return self.decode(self(images), (images.shape[-2], images.shape[-1]))

    def _refuse_training(self, method: str) -> None:
        if self.training:
            raise RuntimeError(f"{method}() needs the model in eval mode: call model.eval() first.")

    def for_inference(self, device: str | torch.device = "auto", *, copy: bool = True) -> DenseModel:
        """In eval mode, batch norms folded into the convolutions before them, channels last, on a device.

        Args:
            device: of torch; "auto" is a GPU where there is one.
            copy: leave this model as it is; False folds its own batch norms and takes no second memory.

        Raises:
            ValueError: no such device.
        """
        at = device_of(device)
        folded = fold_batch_norms((deepcopy(self) if copy else self).eval())
        return folded.to(at).to(memory_format=torch.channels_last)

    def beside(self) -> AbstractContextManager[None]:
        """Nothing to see to: what surrounds the model is torch as the model is."""
        return nullcontext()

    def results(self, raw: Any, infos: Infos, size: tuple[int, int] | None = None) -> list[Any]:  # noqa: ANN401
        """The second half of :meth:`predict`, for whoever has the raw predictions already."""
        return self.select(self.decode(raw, size), infos)

    def select(self, decoded: Any, infos: Infos) -> list[Any]:  # noqa: ANN401
        """Decoded tensors -> one typed result per image, in its original pixels; the last step of :meth:`predict`."""
        # A head whose decisions take more than its selection says so by a method of its own.
        select: Any = getattr(self.head, "select", None) or self.selection
        results: list[Any] = select(decoded, infos)
        return results


def _check_part(part: str, module: nn.Module, promised: Sequence[str]) -> None:
    missing = [name for name in promised if not hasattr(module, name)]
    if missing:
        raise ValueError(
            f"{part}: {type(module).__name__} has no {', '.join(missing)}; every {part} has {', '.join(promised)} "
            f"(docs/architecture.md, Contracts, and mnv2dense.protocols.{part.capitalize()})."
        )


def build_model(
    config: Mapping[str, Any], *, packages: Sequence[str] = ("mnv2dense",), factories: bool = True
) -> DenseModel:
    """The model that a plain config describes; what training and loading both call.

    The head says which features it reads; the backbone is built as deep as those need, and the head is completed
    with what the backbone then offers, so channel counts stand nowhere in a config.

    Args:
        config: ``size``, ``resize``, ``class_names``, ``category_ids``, ``thresholds`` and ``temperatures`` (optional),
            and ``backbone`` and ``head`` with a ``_target_`` each; ``head.features`` names the features.
        packages: packages whose classes may be named, beside ours. A config out of a file someone sent must not name
            others: naming is running.
        factories: whether functions may be named too that these packages define and that return a module. False for a
            config that came in a file.

    Raises:
        ValueError: a part that is missing, a target outside ``packages``, options the target does not take, or features
            that the backbone does not give.
        TypeError: as a class of another package raises it while it is built.
    """
    for key in ("size", "class_names", "backbone", "head"):
        if key not in config:
            raise ValueError(f"The model's config lacks {key!r}; it has {', '.join(config) or 'nothing'}.")
    size = _sides(config["size"])
    _check_names(config["class_names"], config.get("category_ids"))
    head = dict(config["head"])
    parts = parts_of(head)
    features = _features_of(parts) if parts else head.pop("features", None)
    if not features:
        raise ValueError("head.features is missing: the names of the backbone's features that the head reads.")
    backbone = construct(
        config["backbone"],
        "backbone",
        packages=packages,
        factories=factories,
        completed={"features": tuple(features)},
    )
    _check_part("backbone", backbone, ("feature_info",))
    given: Mapping[str, FeatureInfo] = backbone.feature_info  # type: ignore[assignment]
    if absent := [name for name in features if name not in given]:
        raise ValueError(
            f"head.features={list(features)}: the backbone {type(backbone).__name__} does not give "
            f"{', '.join(absent)}, {'only ' + ', '.join(given) if given else 'none of them'}; name those that it has."
        )

    def of_head(config: Mapping[str, Any], part: str, names: Sequence[str]) -> nn.Module:
        reads = config.get("features", features)
        return construct(
            {key: value for key, value in config.items() if key != "features"},
            part,
            {name: given[name] for name in reads},
            packages=packages,
            factories=factories,
            completed={"size": size, "class_names": tuple(names)},
        )

    names = tuple(config["class_names"])
    if parts:
        built: nn.Module = JointHead(
            {name: of_head(part, f"head.parts.{name}", part_names(names, name)) for name, part in parts.items()}
        )
    else:
        built = of_head(head, "head", names)
    return DenseModel(
        backbone,
        built,
        size=size,
        resize=config.get("resize", "squash"),
        category_ids=config.get("category_ids"),
        thresholds=config.get("thresholds"),
        temperatures=config.get("temperatures"),
    )


def parts_of(head: Any) -> dict[str, Mapping[str, Any]]:  # noqa: ANN401 - whatever a config has
    """The configs of the heads that are joined, by name; none of a head that stands alone.

    Raises:
        ValueError: a joint head without a table of heads.
    """
    if not isinstance(head, Mapping) or address_now(str(head.get("_target_", ""))) != "mnv2dense.heads.JointHead":
        return {}
    parts = head.get("parts")
    if not isinstance(parts, Mapping) or not parts or not all(isinstance(each, Mapping) for each in parts.values()):
        raise ValueError("head.parts: a joint head has a table of heads by name, as in head.parts.boxes.")
    return {str(name): part for name, part in parts.items()}


def _features_of(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All that the parts read."""
    for name, part in parts.items():
        if not part.get("features"):
            raise ValueError(
                f"head.parts.{name}.features is missing: the names of the backbone's features that the head reads."
            )
    return list(dict.fromkeys(feature for part in parts.values() for feature in part["features"]))


# A detector lays its anchors when it is built, in memory that grows with the image.
_LONGEST_SIDE = 16384


def _sides(size: Any) -> tuple[int, int]:  # noqa: ANN401 - whatever a config has
    try:
        height, width = size
        sides = int(height), int(width)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"model.size={_short(size)} must be [height, width], pixels.") from error
    if sides != (height, width):  # half a pixel, or digits as text
        raise ValueError(f"model.size={_short(size)} must be [height, width], whole pixels.")
    if min(sides) < 32:
        raise ValueError(f"model.size={_short(size)}: both sides must be at least 32 pixels, one cell of stride 32.")
    if max(sides) > _LONGEST_SIDE:
        raise ValueError(f"model.size={_short(size)}: both sides must be at most {_LONGEST_SIDE} pixels.")
    return sides


def _check_names(names: Any, category_ids: Any) -> None:  # noqa: ANN401
    """What a config calls its classes, which a file of anybody's may have."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"class_names={_short(names)} is no list of class names, as in [cat, dog].")
    unnamed = [name for name in names if not isinstance(name, str)]
    if unnamed:
        raise ValueError(f"class_names has {_short(unnamed[0])}, which is no text; put names in quotes.")
    strange = [number for number in category_ids or () if not _is_id(number)]
    if strange:
        raise ValueError(f"category_ids has {_short(strange[0])}; they are whole numbers of at most 64 bits.")


def _is_id(value: Any) -> bool:  # noqa: ANN401
    number = whole(value)
    return number is not None and abs(number) < 2**63


def _short(value: object) -> str:
    """The beginning of a value, which may be long where a file has it."""
    shown = repr(list(value) if isinstance(value, tuple) else value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
