from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2dense.data.datasets import coco_fast
from mnv2dense.data.datasets.coco_fast import read_fast
from mnv2dense.data.datasets.coco_json import CocoColumns, read_columns


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_fast, "_PIECE_BYTES", 300)  # one to three rows


def content(**changes: object) -> dict[str, Any]:
    """Two images of 64x48, ids 7 and 9; two classes, ids 3 and 5; six annotations, one of them a crowd."""
    row = {"segmentation": [[1, 1, 9.5, 1, 9, 9]], "area": 20.5, "iscrowd": 0, "image_id": 7, "bbox": [1, 1, 8, 8]}
    rows = [row | {"id": number, "category_id": 3 + 2 * (number % 2)} for number in range(1, 7)]
    rows[3] |= {"iscrowd": 1, "image_id": 9, "segmentation": {"counts": [72, 3000], "size": [48, 64]}}
    rows[4]["segmentation"] = [[1, 1, 9, 1, 9, 9], [2, 2, 4, 2, 4, 4, 2, 4]]
    images = [{"id": id_, "file_name": f"{id_}.jpg", "width": 64, "height": 48} for id_ in (7, 9)]
    categories = [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}]
    return {"info": {"year": 2017}, "images": images, "annotations": rows, "categories": categories} | changes


def equal(one: CocoColumns, other: CocoColumns) -> bool:
    def parts(columns: CocoColumns) -> list[Any]:
        return [columns.image_ids, *columns.names, columns.sizes, *columns.objects]

    same = [a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(parts(one), parts(other), strict=True)]
    return all(same) and (one.category_ids, one.class_names) == (other.category_ids, other.class_names)


def written(folder: Path, text: str) -> Path:
    file = folder / "instances.json"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}])
@pytest.mark.parametrize("order", [["images", "annotations"], ["annotations", "images"]])
def test_usual_files_are_read_fast_and_alike(layout: dict[str, Any], order: list[str], tmp_path: Path) -> None:
    whole = content(licenses=[{"id": 1, "url": "http://a.b"}])
    whole = {key: whole[key] for key in [*order, *(whole.keys() - set(order))]}
    file = written(tmp_path, json.dumps(whole, **layout))
    found = read_fast(file)
    assert found is not None
    assert equal(found, read_columns(file))


def test_the_real_thing_is_read_fast_and_alike(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_fast, "_PIECE_BYTES", 2**14)
    for split in ("train2017", "val2017"):
        file = shared / "data" / "coco_mini" / "annotations" / f"instances_{split}.json"
        found = read_fast(file)
        assert found is not None
        assert equal(found, read_columns(file))


def test_what_is_there_twice_in_any_object_is_left_to_the_reader_that_says_so(tmp_path: Path) -> None:
    text = json.dumps(content())
    for row, twice in (
        ('"iscrowd": 1', '"iscrowd": 1, "iscrowd": 1'),
        ('"counts": [72, 3000]', '"counts": [9], "counts": [72, 3000]'),
        ('"file_name": "9.jpg"', '"file_name": "8.jpg", "file_name": "9.jpg"'),
        ('"name": "dog"', '"name": "fox", "name": "dog"'),
        ('"year": 2017', '"year": 2016, "year": 2017'),
        ('"images": ', '"images": [], "images": '),
        ('"annotations": ', '"annotations": [], "annotations": '),
    ):
        assert text.count(row) == 1
        file = written(tmp_path, text.replace(row, twice))
        assert read_fast(file) is None, twice
        with pytest.raises(ValueError, match="is there twice in one object"):
            read_columns(file)


def test_lists_of_another_object_are_not_taken_for_the_files_own(tmp_path: Path) -> None:
    other = content()
    other["images"][0]["file_name"] = "other.jpg"
    for outer in ({"info": other} | content(), {"info": {"images": [], "annotations": []}} | content()):
        found = read_fast(written(tmp_path, json.dumps(outer)))
        assert found is None or found.names.at(0) == "7.jpg"
    hidden = content(images="a list was here", info={"images": content()["images"]})
    assert read_fast(written(tmp_path, json.dumps(hidden))) is None


def test_lists_inside_of_polygons_and_boxes_are_not_flattened_without_a_word(tmp_path: Path) -> None:
    # As many brackets too few in one row as too many in the next.
    for first, second in (([1, 1, 9, 1], [[[1, 1], [9, 1], [9, 9], [1, 9]]]), ([[[1], [1]]], [[1, 1]])):
        rows = content()["annotations"]
        rows[0]["segmentation"], rows[1]["segmentation"] = first, second
        assert read_fast(written(tmp_path, json.dumps(content(annotations=rows)))) is None
    rows = content()["annotations"]
    rows[0]["bbox"] = [[1], 1, 8, 8]
    assert read_fast(written(tmp_path, json.dumps(content(annotations=rows)))) is None


ODD: list[Any] = [
    *(None, True, "1", "", -1, 0, 1.0, 2**63, -(2**63), 2**70, 10**400, 1e9, float("nan"), float("inf"), 7, 9),
    *([], [[]], {}, [1, 1, 8, 8], [[1, 1, 8]], [["1", 2]], [[True, 1]], [[1, 1, 9, 1, 9, 9], None], [{"a": 1}]),
    *({"counts": "PQ", "size": [48, 64]}, {"counts": [3072], "size": [48, 64]}, {"counts": [3072], "size": [64, 48]}),
    *("a[b", "\ud800", "猫", 'x", {"y": [', {"nested": {"deep": [{"a": 1}, {"b": 2}]}}),
]


def test_of_random_files_all_that_is_read_fast_is_read_alike_and_nothing_that_is_refused(tmp_path: Path) -> None:
    read = 0
    for seed in range(250):
        chance = random.Random(seed)
        whole = content()
        for _ in range(chance.choice((1, 1, 2, 5))):
            row = chance.choice([*whole["images"], *whole["annotations"] * 2, *whole["categories"]])
            key = chance.choice([*row, "attributes", "height"])
            if chance.random() < 0.3:
                row.pop(key, None)
            else:
                row[key] = chance.choice(ODD)
        file = written(tmp_path, json.dumps(whole, indent=chance.choice((None, 1))))
        found = read_fast(file)
        try:
            expected = read_columns(file)
        except ValueError:
            assert found is None, seed
            continue
        if found is not None:
            read += 1
            assert equal(found, expected), seed
    assert read > 40
