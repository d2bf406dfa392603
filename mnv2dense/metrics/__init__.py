"""Scores of results against a data set; every image counts once, on any number of processes."""

from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.metrics.coco_map import CocoMeanAP
from mnv2dense.metrics.joint import JointMetric
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.metrics.metric_group import MetricGroup
from mnv2dense.metrics.missed_promise import Promise

__all__ = ["Accuracy", "CocoMeanAP", "JointMetric", "MeanIoU", "MetricGroup", "Promise"]
