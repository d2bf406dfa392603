"""What was found in many images or frames, in a few lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import final

from mnv2dense.inference.least_scores import Threshold
from mnv2dense.types import Classification, Detections, JointResult, Segmentation
from mnv2dense.types.thresholds import AUTO

# More classes would scroll away what was said before.
_LISTED_CLASSES = 10


@final
@dataclass
class Summary:
    """Counts over all images of a source, or the frames of a video.

    Attributes:
        task: "detection", "classification", "segmentation" or "joint".
        images: how many were looked at.
        empty: those in which nothing was found; of masks, nothing but background.
        objects: class -> boxes.
        shown: class -> images that show it; of a classifier, those that it is the likeliest of.
        shares: class -> the shares of those images that it covers, summed.
    """

    task: str
    images: int = 0
    empty: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    shares: dict[str, float] = field(default_factory=dict)

    def add(self, found: Detections | Classification | Segmentation | JointResult) -> None:
        """Count one image's result."""
        self.images += 1
        if isinstance(found, JointResult):
            names = [name for part, own in found.parts.items() for name in self._named(own, f"{part}/")]
        else:
            names = self._named(found, "")
        self.shown.update(set(names))
        self.empty += not names

    def _named(self, found: Detections | Classification | Segmentation, before: str) -> list[str]:
        """The classes that are there, a box's as often as there are boxes; ``before`` stands before each name."""
        if isinstance(found, Segmentation):
            shares = {before + name: share for name, share in found.shares().items() if name != "background"}
            for name, share in shares.items():
                self.shares[name] = self.shares.get(name, 0.0) + share
            return list(shares)
        names = [before + name for name in found.names]
        if isinstance(found, Detections):
            self.objects.update(names)
            return names
        return names[:1]

    def lines(self, unit: str = "images", *, threshold: Threshold = None) -> list[str]:
        """For people; none of no images, of which the reasons are told elsewhere.

        Args:
            unit: "images" or "frames".
            threshold: lowest score that counted; "auto" where it was the model's own of each class, None where none was
                set.
        """
        if not self.images:
            return []
        if threshold == AUTO:
            at = " from the model's own thresholds on"
        else:
            at = "" if threshold is None else f" of score {threshold:g} or more"
        but = " but background" if self.task in ("segmentation", "joint") else ""
        nothing = f"; nothing in {_counted(self.empty, unit)}{but}" if self.empty else ""
        what = {
            "detection": f", {_counted(self.objects.total(), 'objects')}{at}",
            "classification": f" by their likeliest class{at}",
            "segmentation": "",
            "joint": f", {_counted(self.objects.total(), 'objects')}{at}",
        }[self.task]
        order = self.objects if self.task == "detection" else self.shown
        ranked = sorted(order, key=lambda name: (-order[name], name))
        rows = [f"  {name}: {self._said(name, unit)}" for name in ranked[:_LISTED_CLASSES]]
        if len(ranked) > _LISTED_CLASSES:
            rows.append(f"  and {len(ranked) - _LISTED_CLASSES} more classes")
        return [f"{_counted(self.images, unit)}{what}{nothing}", *rows]

    def _said(self, name: str, unit: str) -> str:
        where = _counted(self.shown[name], unit)
        if name in self.objects:
            return f"{self.objects[name]} in {where}"
        if name in self.shares:
            return f"in {where}, {_percent(self.shares[name] / self.shown[name])} of the {unit[:-1]} on average"
        return where


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit if count != 1 else unit[:-1]}"


def _percent(share: float) -> str:
    """Whole percents; of what is less, a digit more, since "0%" would deny what was found."""
    if share >= 0.01:
        return f"{100 * share:.0f}%"
    return f"{100 * share:.1f}%" if share >= 0.001 else "less than 0.1%"
