from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.image_folder import ImageFolder
from mnv2dense.evaluation.samples import draw_images, draw_samples
from mnv2dense.inference.predictor import Predictor
from mnv2dense.models.architectures import mobilenet_v2_classifier


@pytest.mark.parametrize("size", [(17_000, 4), (4, 40_000)])
def test_a_sheet_of_images_too_long_for_it_is_shown_smaller(size: tuple[int, int], tmp_path: Path) -> None:
    """Four of 17,000 pixels are longer than a JPEG can be: a finished training used to end there, without scores."""
    for number in range(8):
        for name in "ab":
            (tmp_path / "val" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, "navy").save(tmp_path / "val" / name / f"{number}.png")
    data = ImageFolder(root=tmp_path, split="val")
    predictor = Predictor(mobilenet_v2_classifier(2, width_mult=0.35, size=(64, 64)).eval(), device="cpu")
    (first,) = draw_images(predictor, data, [0])
    assert max(first.panels.shape) == 4096
    draw_samples(predictor, data, tmp_path / "samples.jpg", count=8)
    with Image.open(tmp_path / "samples.jpg") as sheet:
        assert max(sheet.size) < 20_000
        assert np.asarray(sheet).min() < 200  # something is drawn
