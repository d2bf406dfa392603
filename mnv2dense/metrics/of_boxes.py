"""The scores of results within a metric, whatever it is made of: the thresholds and temperatures that they choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.joint import JointMetric
from mnv2dense.metrics.metric_group import MetricGroup
from mnv2dense.metrics.missed_promise import Promise, Promised
from mnv2dense.protocols import Metric
from mnv2dense.types.thresholds import Thresholds


@dataclass(frozen=True)
class PromisedThresholds:
    """What can be promised of one head for boxes.

    Attributes:
        promise: what was asked for.
        overall: of all classes together.
        classes: of each class by itself, of those that the data have objects of.
    """

    promise: Promise
    overall: Promised
    classes: Mapping[str, Promised]

    @property
    def kept(self) -> Thresholds | None:
        """As a model keeps them; None where nothing is promised of all classes together."""
        if self.overall.threshold is None:
            return None
        own = {name: each.threshold for name, each in self.classes.items() if each.threshold is not None}
        return Thresholds(self.overall.threshold, own, self.promise.words)

    def to_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        classes = {name: each._asdict() for name, each in self.classes.items()}
        return {**self.promise._asdict(), "all": self.overall._asdict(), "classes": classes}


def box_metrics(metric: Metric) -> dict[str, CocoMeanAP]:
    """Those that score boxes, by the names of their heads; "" is that of an only head. Of a group its first counts."""
    return {name: part for name, part in _first_metrics(metric).items() if isinstance(part, CocoMeanAP)}


def best_thresholds(metric: Metric) -> dict[str, Thresholds]:
    """Of each head for boxes that finds anything right; after :meth:`mnv2dense.protocols.Metric.compute`."""
    chosen = {name: part.threshold_curves().chosen(part.class_names) for name, part in box_metrics(metric).items()}
    return {name: own for name, own in chosen.items() if own is not None}


def best_temperatures(metric: Metric) -> dict[str, float]:
    """Of each head whose results have scores, where there are enough; after :meth:`mnv2dense.protocols.Metric.compute`.

    That of :class:`mnv2dense.metrics.calibration.Calibration`, whatever it would mend.
    """
    scored = {name: part for name, part in _first_metrics(metric).items() if isinstance(part, CocoMeanAP | Accuracy)}
    found = {name: part.calibration() for name, part in scored.items()}
    return {name: one.temperature for name, one in found.items() if one is not None and one.temperature is not None}


def promised_thresholds(metric: Metric, promise: Promise) -> dict[str, PromisedThresholds]:
    """What each head for boxes can promise; after :meth:`mnv2dense.protocols.Metric.compute`."""
    return {name: PromisedThresholds(promise, *part.promised(promise)) for name, part in box_metrics(metric).items()}


def _first_metrics(metric: Metric) -> dict[str, Metric]:
    """Those that count, by the names of their heads; "" is that of an only head."""
    parts = metric.parts if isinstance(metric, JointMetric) else {"": metric}
    return {name: part.first if isinstance(part, MetricGroup) else part for name, part in parts.items()}
