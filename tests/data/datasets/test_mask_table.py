from __future__ import annotations

import functools
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mnv2dense.data.datasets.mask_png import MaskRules, read_mask
from mnv2dense.data.datasets.mask_table import MaskTable


def save(path: Path, array: npt.ArrayLike, **options: Any) -> Path:  # noqa: ANN401
    Image.fromarray(np.array(array, np.uint8)).save(path, **options)
    return path


def table(root: Path, count: int = 3, **options: Any) -> MaskTable[Path]:  # noqa: ANN401
    """Images of 4 x 6 pixels, number n labelled n % 2 all over; files that are there stay."""
    paths, masks = [root / f"{n}.jpg" for n in range(count)], [root / f"{n}.png" for n in range(count)]
    for n, (path, mask) in enumerate(zip(paths, masks, strict=True)):
        if not path.exists():
            save(path, np.zeros((4, 6, 3)))
        if not mask.exists():
            save(mask, np.full((4, 6), n % 2))
    options = {"image_ids": range(10, 10 + count), "paths": paths, "masks": masks} | options
    return MaskTable(
        source=root,
        class_names=("x", "y"),
        palette=None,
        read=functools.partial(read_mask, rules=MaskRules(2)),
        **options,
    )


def test_samples_have_the_image_and_its_mask(tmp_path: Path) -> None:
    data = table(tmp_path)
    assert len(data) == 3
    sample = data[1]
    assert (sample.image_id, sample.path.name, sample.boxes, sample.labels) == (11, "1.jpg", None, None)
    assert sample.image.shape == (4, 6, 3)
    assert sample.mask is not None
    assert (sample.mask == 1).all()
    assert (data.mask_of(11) == 1).all()
    assert data.path_of(12).name == "2.jpg"
    assert data[-1].image_id == 12
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(LookupError, match="no image has the id 3"):
        data.mask_of(3)


def test_workers_can_be_given_it(tmp_path: Path) -> None:
    assert (pickle.loads(pickle.dumps(table(tmp_path))).mask_of(11) == 1).all()


def test_a_mask_of_the_stored_image_is_not_one_of_the_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    save(tmp_path / "0.jpg", np.zeros((4, 6, 3)), exif=exif)
    with pytest.raises(
        ValueError, match=r"0.png: the mask is 4 x 6 .* 0.jpg upright is 6 x 4.* turn the mask, or remove"
    ):
        table(tmp_path, check=True)
    with pytest.raises(ValueError, match=r"0.png: the mask is 4 x 6"):
        table(tmp_path, check=False)[0]
    save(tmp_path / "0.png", np.zeros((6, 4)))
    assert table(tmp_path)[0].image.shape == (6, 4, 3)


def test_all_wrong_masks_are_in_one_message(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.full((4, 6), 7))
    save(tmp_path / "2.png", np.zeros((5, 6)))
    with pytest.raises(ValueError, match=r"(?s)2 of 3 masks cannot be used.*0.png: label 7.*2.png: the mask is 5 x 6"):
        table(tmp_path)
    # A wrong label is no damage: skipping would hide a wrong option.
    with pytest.raises(ValueError, match=r"2 of 3 masks"):
        table(tmp_path, bad_images="skip")


def test_damaged_masks_can_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1.png").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"1.png: no PNG"):
        table(tmp_path)
    with caplog.at_level(logging.WARNING):
        data = table(tmp_path, bad_images="skip")
    assert [data[k].image_id for k in range(len(data))] == [10, 12]
    assert data.skipped_images == 1
    assert "skipped 1 damaged masks" in caplog.text
    (tmp_path / "0.png").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"1 of 1 masks cannot be used"):
        table(tmp_path, count=1, bad_images="skip")


def test_missing_masks_are_one_report_or_left_out(tmp_path: Path) -> None:
    masks = [tmp_path / "0.png", tmp_path / "none.png", tmp_path / "no.png"]
    with pytest.raises(FileNotFoundError, match=r"2 of 3 images have no mask: 1.jpg, 2.jpg; the first would be no.png"):
        table(tmp_path, masks=masks)
    data = table(tmp_path, masks=masks, bad_images="skip")
    assert (len(data), data.skipped_images) == (1, 2)
    with pytest.raises(FileNotFoundError, match="3 of 3"):
        table(tmp_path, masks=[tmp_path / "no.png"] * 3, bad_images="skip")


def test_a_limit_takes_the_first_and_asks_for_no_more(tmp_path: Path) -> None:
    save(tmp_path / "2.png", np.full((4, 6), 7))
    assert len(table(tmp_path, limit=2)) == 2
