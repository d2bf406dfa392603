"""Two detectors of one population of images, whose true scores are known: how hard an image is, both feel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnv2dense.metrics.box_matches import THRESHOLDS, BoxMatches
from mnv2dense.metrics.weighted_ap import WeightedAP


def simulated(random: np.random.Generator, images: int, classes: int, skills: Sequence[float]) -> list[WeightedAP]:
    """What detectors of these skills find on images drawn from the population; all boxes count, of one size."""
    hard = random.normal(0, 0.8, images)
    counts = 1 + random.poisson(3, images)
    places = np.repeat(np.arange(images), counts)
    labels = random.integers(0, classes, len(places))
    own = random.normal(0, 1, len(places))
    made = []
    for skill in skills:
        quality = skill - hard[places] + 0.7 * own + 0.7 * random.normal(0, 1, len(places))
        wrong = np.repeat(np.arange(images), random.poisson(3, images))
        of_images = np.concatenate([places, wrong])
        of_classes = np.concatenate([labels, random.integers(0, classes, len(wrong))])
        ious = np.concatenate([1 / (1 + np.exp(-(quality + 0.3))), np.zeros(len(wrong))])
        sure = 0.8 * quality + random.normal(0, 0.7, len(places))
        order = np.lexsort((-np.concatenate([sure, random.normal(-0.6, 0.8, len(wrong))]), of_classes))
        inside = np.zeros((4, len(order)), np.bool_)
        inside[0] = True
        right = np.zeros((4, len(THRESHOLDS), len(order)), np.bool_)
        right[0] = ious[order] >= THRESHOLDS[:, None]
        counted = np.broadcast_to(inside[:, None], right.shape)
        to_find = np.zeros((4, len(places)), np.bool_)
        to_find[0] = True
        matches = BoxMatches(of_images[order], of_classes[order], inside, right, counted, places, labels, to_find)
        names = [str(label) for label in range(classes)]
        made.append(WeightedAP(matches, image_ids=range(images), class_names=names))
    return made
