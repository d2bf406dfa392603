"""What is around a case: tags of boxes at one place stand beside each other."""

from __future__ import annotations

import numpy as np

from mnv2dense.visualization.crops import FOUND_COLOR, draw_case

IMAGE = np.zeros((200, 200, 3), np.uint8)
BOX = (60.0, 60.0, 140.0, 140.0)


def orange(found: list[tuple[tuple[float, float, float, float], str]]) -> int:
    """Pixels in the colour of found boxes."""
    return int((draw_case(IMAGE, found, []) == FOUND_COLOR).all(axis=2).sum())


def test_tags_of_boxes_at_one_place_do_not_hide_each_other() -> None:
    alone = [orange([(BOX, text)]) for text in ("cat 0.9", "dog 0.8")]
    outline = orange([(BOX, "")])
    tags = [count - outline for count in alone]
    assert min(tags) > 100
    assert orange([(BOX, "cat 0.9"), (BOX, "dog 0.8")]) > outline + 0.8 * sum(tags)
