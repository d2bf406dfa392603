"""Where a model looked: class-activation maps of a box, a class of masks, or the class of an image.

The maps are made of the backbone's features that the head reads. A model is a backbone and a head, so the features are
at hand between the two, and gradients run through the head alone: nothing is hooked, and what a library for any network
has to find out stands here in ten lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from mnv2dense.heads.joint import JointHead
from mnv2dense.inference.explain_options import check_method
from mnv2dense.inference.predictor import Predictor
from mnv2dense.io.inputs import fetched, pixels_of
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import Fit, boxes_to_original, infos, map_to_original, resize
from mnv2dense.types import Box, Classification, Detections, Infos, ScoredBoxes, Segmentation
from mnv2dense.utils.listed import listed
from mnv2dense.visualization.draw import draw_classes, draw_detections, save_image
from mnv2dense.visualization.heat import HEAT_OPACITY, draw_heat

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from mnv2dense.io.inputs import ImageInput


class NothingFoundError(ValueError):
    """The image shows nothing of what shall be explained."""


@final
@dataclass(frozen=True)
class Explanation:
    """Where a model looked for one thing that it says of one image.

    Attributes:
        heat: float32 [H, W], 0..1 in the image's pixels; 1 where it looked most. All 0 where nothing spoke for it, and
            0 where a ``crop`` cut the image off.
        method: that made it.
        name: of the class.
        label: of the class, 0..K-1.
        score: 0..1; None of masks, which have none.
        box: xyxy in pixels of the image; None of masks and classes.
        given: the image, in the form that it was given.
    """

    heat: npt.NDArray[np.float32] = field(repr=False)
    method: str
    name: str
    label: int
    score: float | None
    box: tuple[float, float, float, float] | None
    given: ImageInput = field(repr=False, compare=False)

    def plot(self, *, opacity: float = HEAT_OPACITY) -> Image.Image:
        """The image with the map over it, and with the box or the class.

        Args:
            opacity: of the map where it is 1; it fades with the heat, so that what was not looked at stays clear.
        """
        from PIL import Image

        return Image.fromarray(self.draw(pixels_of(self.given), opacity=opacity))

    def save(self, path: str | Path, *, opacity: float = HEAT_OPACITY) -> Path:
        """Write :meth:`plot` in the format of the path's suffix; its folder is made. Returns the path."""
        return save_image(self.draw(pixels_of(self.given), opacity=opacity), path)

    def draw(self, image: npt.NDArray[np.uint8], *, opacity: float = HEAT_OPACITY) -> npt.NDArray[np.uint8]:
        """The same over pixels of the image that are at hand, uint8 [H, W, 3]."""
        drawn = draw_heat(image, self.heat, opacity=opacity)
        names = (*[""] * self.label, self.name)
        labels, scores = torch.tensor([self.label]), torch.tensor([1.0 if self.score is None else self.score])
        if self.box is not None:
            return draw_detections(drawn, Detections(torch.tensor([self.box]), scores, labels, names))
        return draw_classes(drawn, Classification(scores, labels, names), show_scores=self.score is not None)


def explain(
    predictor: Predictor[Any],
    image: ImageInput,
    *,
    method: str = "hirescam",
    name: str | None = None,
    index: int = 0,
    head: str | None = None,
) -> Explanation:
    """Where a model looked for one box, one class of masks, or one class of an image.

    ``hirescam`` (Draelos and Carin 2020) weighs a feature's channels, in each place, by how much the score of what is
    explained would rise with them: what lights up is what the score is made of, of one box and not of another of its
    class. ``gradcam`` (Selvaraju et al. 2017) weighs them by their average over all places, and so shows where there is
    the like. ``eigencam`` (Muhammad and Yeasin 2020) shows what the deepest feature mostly consists of, whatever is
    asked for. The score is the logit of the box's class, the mean logit of a class over the pixels that are taken for
    it, or the logit of an image's class.

    Where a head reads several features, the maps of all are added, each by what it contributes to a pixel.

    Args:
        predictor: of a model of torch; its threshold holds.
        image: one, in any form that a predictor takes.
        method: one of :data:`mnv2dense.inference.explain_options.METHODS`.
        name: of the class; None is that of the best box, of the largest region but background, or the likeliest.
        index: of boxes, which: 0 is the best, of those of class ``name`` where that is given.
        head: of a model with several, the name of one; None is the first.

    Raises:
        NothingFoundError: nothing of the kind was found in the image.
        ValueError: no such method, class or head, an exported file, or a predictor that looks at parts of images.
        OSError: no such file.
    """
    check_method(method)
    part, module = check_explained(predictor, name=name, head=head)
    model = predictor.model
    given = fetched(image)
    pixels = torch.from_numpy(pixels_of(given)).permute(2, 0, 1)
    size = int(pixels.shape[1]), int(pixels.shape[2])
    shown, fit = resize(pixels, model.size, model.resize)
    back = Infos(*(part.to(model.device) for part in infos([0], [size], [fit])))
    assert isinstance(model, DenseModel)
    with torch.no_grad():
        features = model.backbone(model.normalize(shown[None].to(model.device)))
        read = {key: features[key].detach() for key in module.config["features"]}
    with torch.enable_grad():
        for feature in read.values():
            feature.requires_grad_()
        raw = module(features | read, model.size)
        decoded = module.decode(raw, model.size)
        select = getattr(module, "select", None) or module.selection
        (found,) = select(_detached(decoded), back)
        least = predictor.least_scores
        if isinstance(least, dict):
            least = least.get(part)
        # Of several heads it is boxes alone that a threshold leaves out, as JointResult.above says.
        if least is not None and (
            isinstance(found, Detections) or (part is None and isinstance(found, Classification))
        ):
            found = found.above(least)
        target = _target_of(found, raw, decoded, back, name, index)
        slopes = torch.autograd.grad(target.value, list(read.values()), allow_unused=True)
    heat = _heat(dict(zip(read, slopes, strict=True)), read, method, fit, size, model.size)
    named = target.name if part is None else f"{part}/{target.name}"
    return Explanation(heat, method, named, target.label, target.score, target.box, given)


class _Target(NamedTuple):
    """What is explained: the number whose slopes are taken, and what it is of."""

    value: Tensor
    name: str
    label: int
    score: float | None
    box: tuple[float, float, float, float] | None


def check_explained(predictor: Predictor[Any], *, name: str | None, head: str | None) -> tuple[str | None, Any]:
    """Name, of one of several, and module of the head that is explained.

    Raises:
        ValueError: see :func:`explain`.
    """
    model = predictor.model
    if not isinstance(model, DenseModel):
        raise ValueError("explain needs the model itself, and an exported file gives no features: give the checkpoint.")
    if predictor.tiles is not None or predictor.test_time is not None:
        raise ValueError("explain looks at an image once and whole: leave tiles and test_time out.")
    module, chosen = model.head, None
    if isinstance(module, JointHead):
        parts = module.parts
        chosen = next(iter(parts)) if head is None else head
        if chosen not in parts:
            raise ValueError(f"explain.head={head}: no head is called so; there are {listed(list(parts))}.")
        module = parts[chosen]  # type: ignore[assignment]
    elif head is not None:
        raise ValueError(f"explain.head={head}: this model has a single head; leave it out.")
    names: Any = module.class_names
    if name is not None and name not in names:
        raise ValueError(f"explain.class={name}: no class is called so; there are {listed(list(names))}.")
    return chosen, module


def _detached(decoded: Any) -> Any:  # noqa: ANN401 - of any head
    if isinstance(decoded, Tensor):
        return decoded.detach()
    return type(decoded)(*(each.detach() if isinstance(each, Tensor) else each for each in decoded))


def _logits(raw: Any, decoded: Tensor | ScoredBoxes) -> Tensor:  # noqa: ANN401
    """[1, ..., K]: of boxes and images the logits, or the log-odds of scores that follow from no logits alone."""
    scores = decoded if isinstance(decoded, Tensor) else decoded.scores
    logits = raw if isinstance(raw, Tensor) else getattr(raw, "logits", None)
    if isinstance(logits, Tensor) and logits.shape[:-1] == scores.shape[:-1] and logits.shape[-1] >= scores.shape[-1]:
        own = logits[..., -scores.shape[-1] :]  # what is no class stands before the classes
        # A head of others' may multiply its scores by something else that it says, which is to be explained as well.
        if any(torch.allclose(each, scores, atol=1e-3) for each in (own, own.sigmoid(), _share_of(logits, scores))):
            return own
    return scores.clamp_min(1e-7).log() - (1 - scores).clamp_min(1e-7).log()


def _share_of(logits: Tensor, scores: Tensor) -> Tensor:
    return logits.softmax(dim=-1)[..., -scores.shape[-1] :]


def _target_of(
    found: Any,  # noqa: ANN401 - of any head
    raw: Any,  # noqa: ANN401
    decoded: Any,  # noqa: ANN401
    back: Infos,
    name: str | None,
    index: int,
) -> _Target:
    names: tuple[str, ...] = found.class_names
    if isinstance(found, Segmentation):
        regions = [region for region in found if region.name == name or (name is None and region.name != "background")]
        if not regions:
            raise NothingFoundError(f"no pixel is taken for {name or 'anything but background'}.")
        label = regions[0].label
        own = decoded.logits[0]
        there = own.argmax(dim=0) == label
        # Of a region that is finer than a cell no cell is the class's own.
        value = own[label][there].mean() if there.any() else own[label].max()
        return _Target(value, names[label], label, None, None)
    rows = [row for row, one in enumerate(found) if name in (None, one.name)]
    if not 0 <= index < len(rows):
        what = "class" if isinstance(found, Classification) else "box"
        raise NothingFoundError(f"no {what} number {index}{f' of {name}' if name else ''}: there are {len(rows)}.")
    one, logits = found[rows[index]], _logits(raw, decoded)
    if isinstance(found, Classification):
        return _Target(logits[0, one.label], one.name, one.label, one.score, None)
    row = _row_of(one, decoded, back)
    return _Target(logits[0, row, one.label], one.name, one.label, one.score, one.xyxy)


def _row_of(box: Box, decoded: ScoredBoxes, back: Infos) -> int:
    """Which anchor or point said a box: that whose box and score are closest."""
    boxes = boxes_to_original(decoded.boxes[0].detach(), back.scales[0], back.offsets[0], back.sizes[0])
    away = (boxes - torch.tensor(box.xyxy, device=boxes.device)).abs().sum(dim=1) / back.sizes.max()
    return int((away + (decoded.scores[0, :, box.label].detach() - box.score).abs()).argmin())


def _heat(
    slopes: Mapping[str, Tensor | None],
    features: Mapping[str, Tensor],
    method: str,
    fit: Fit,
    size: tuple[int, int],
    input_size: tuple[int, int],
) -> npt.NDArray[np.float32]:
    """[H, W] in pixels of the image, 0..1."""
    if method == "eigencam":
        deepest = min(reversed(list(features.values())), key=lambda feature: feature.shape[2:].numel())
        maps = [first_component(deepest[0].detach())]
    else:
        maps = [
            _weighed(slope[0], features[key][0].detach(), by_place=method == "hirescam")
            for key, slope in slopes.items()
            if slope is not None
        ]
    total = torch.zeros(size)
    for each in maps:
        # By cells, as a cell of a coarse map speaks for more pixels.
        total += map_to_original(each.clamp_min(0).float().cpu() * each.numel(), size, fit, input_size)
    return np.asarray((total / total.max()).numpy() if total.max() > 0 else total.numpy(), np.float32)


def _weighed(slope: Tensor, feature: Tensor, *, by_place: bool) -> Tensor:
    """[C, h, w] each -> [h, w]: channels by their slopes, in each place or on average (Grad-CAM, equations 1 and 2)."""
    return ((slope if by_place else slope.mean(dim=(1, 2), keepdim=True)) * feature).sum(dim=0)


def first_component(feature: Tensor) -> Tensor:
    """[C, h, w] -> [h, w]: cells on their first principal axis, without centring (EigenCAM, section III)."""
    cells = feature.flatten(1).double()
    by_channels = cells.shape[0] <= cells.shape[1]  # the smaller of the two matrices has the same axes
    values, vectors = torch.linalg.eigh(cells @ cells.T if by_channels else cells.T @ cells)
    first = vectors[:, -1]
    along = first @ cells if by_channels else first * values[-1].clamp_min(0).sqrt()
    component: Tensor = (along if along.sum() >= 0 else -along).reshape(feature.shape[1:])
    return component
