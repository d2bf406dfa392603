from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from mnv2dense.data.datasets import annotation_index, coco_boxes
from mnv2dense.data.datasets.annotation_index import Columns, indexed
from mnv2dense.data.datasets.coco import CocoDetection
from tests.data.datasets.test_coco import annotation, write


@pytest.fixture(autouse=True)
def kept_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small files have an index, too; where."""
    monkeypatch.setattr(annotation_index, "WORTH_BYTES", 0)
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MNV2DENSE_ANNOTATION_INDEX", raising=False)
    return tmp_path / "cache" / "annotations"


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, and not mapped, in their order."""
    seen = []
    read = coco_boxes._read
    monkeypatch.setattr(coco_boxes, "_read", lambda file: (seen.append(file), read(file))[1])
    return seen


def indexes(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()]


def test_samples_and_truth_are_the_same_with_an_index_and_without(
    shared: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shared / "data" / "coco_mini"
    options: list[dict[str, Any]] = [{}, {"limit": 30}]
    first, limited = (CocoDetection(root=root, split="val2017", **each) for each in options)
    assert len(readings) == 1
    monkeypatch.setenv("MNV2DENSE_ANNOTATION_INDEX", "off")
    for mapped, each in ((first, options[0]), (limited, options[1])):
        plain = CocoDetection(root=root, split="val2017", **each)
        assert mapped.coco_ground_truth() == plain.coco_ground_truth()
        assert (mapped.paths, mapped.image_ids) == (plain.paths, plain.image_ids)
        assert (mapped.class_names, mapped.category_ids) == (plain.class_names, plain.category_ids)
        for one, other in zip((mapped[0], mapped[29]), (plain[0], plain[29]), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
            assert (one.image_id, one.path) == (other.image_id, other.path)
    assert len(readings) == 3


def test_a_file_that_changed_is_read_anew_and_its_old_index_makes_room(
    tmp_path: Path, kept_in: Path, readings: list[Path]
) -> None:
    root = write(tmp_path / "data", [annotation()])
    file = root / "annotations" / "instances_train2017.json"
    assert CocoDetection(root=root)[0].boxes.tolist() == [[10, 5, 30, 15]]
    before = file.stat()
    file.write_text(file.read_text().replace("[10, 5, 20, 10]", "[11, 5, 20, 10]"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # of the same size
    assert CocoDetection(root=root)[0].boxes.tolist() == [[11, 5, 31, 15]]
    assert (len(readings), len(indexes(kept_in))) == (2, 1)
    shutil.copytree(root, tmp_path / "copy")  # with the same times
    CocoDetection(root=tmp_path / "copy")
    assert (len(readings), len(indexes(kept_in))) == (3, 2)


def test_images_that_come_and_go_are_noticed_with_an_index_too(tmp_path: Path, readings: list[Path]) -> None:
    root = write(tmp_path / "data", [annotation()])
    assert len(CocoDetection(root=root)) == 2
    (root / "train2017" / "7.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing: 7\.jpg"):
        CocoDetection(root=root)
    assert CocoDetection(root=root, bad_images="skip").image_ids == [9]
    assert len(readings) == 1


def damage(folder: Path, how: str) -> None:
    boxes, told = folder / "boxes.npy", folder / "index.json"
    match how:
        case "a bit":
            data = bytearray(boxes.read_bytes())
            data[-1] ^= 1
            boxes.write_bytes(data)
        case "half a column":
            boxes.write_bytes(boxes.read_bytes()[:-8])
        case "no column":
            boxes.unlink()
        case "an empty column":
            boxes.write_bytes(b"")
        case "another type":
            np.save(boxes, np.load(boxes).astype(np.float32))
        case "half of what tells":
            told.write_bytes(told.read_bytes()[:-20])
        case "nothing that tells":
            told.unlink()
        case "another file's":
            content = json.loads(told.read_bytes())
            content["key"]["file"] = "/elsewhere.json"
            told.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "how",
    [
        *("a bit", "half a column", "no column", "an empty column", "another type", "half of what tells"),
        *("nothing that tells", "another file's"),
    ],
)
def test_a_damaged_index_is_made_anew(how: str, tmp_path: Path, kept_in: Path, readings: list[Path]) -> None:
    root = write(tmp_path / "data", [annotation(), annotation(2)])
    truth = CocoDetection(root=root).coco_ground_truth()
    (folder,) = indexes(kept_in)
    damage(folder, how)
    assert CocoDetection(root=root).coco_ground_truth() == truth
    assert CocoDetection(root=root).coco_ground_truth() == truth
    assert len(readings) == 2


def test_a_cache_that_cannot_be_written_is_said_once_in_a_line(
    tmp_path: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = write(tmp_path / "data", [annotation()])

    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(np, "save", full)
        assert sum(CocoDetection(root=root).box_counts) == 1
    assert indexes(kept_in) == []
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert "Set MNV2DENSE_CACHE to a folder that has room" in caplog.text
    caplog.clear()
    shutil.rmtree(kept_in)
    kept_in.write_text("a file where the folder would be")
    assert sum(CocoDetection(root=root).box_counts) == 1
    assert len(caplog.records) == 1


def test_a_cache_that_may_only_be_read_serves_what_is_in_it(
    tmp_path: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path / "data", [annotation()])
    CocoDetection(root=root)

    def forbidden(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "read-only")

    for owner, name in ((os, "utime"), (Path, "mkdir"), (np, "save")):
        monkeypatch.setattr(owner, name, forbidden)
    assert sum(CocoDetection(root=root).box_counts) == 1
    assert len(readings) == 1


def test_it_can_be_switched_off(tmp_path: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNV2DENSE_ANNOTATION_INDEX", "off")
    CocoDetection(root=write(tmp_path / "data", [annotation()]))
    assert not kept_in.exists()


def test_small_files_have_none(tmp_path: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotation_index, "WORTH_BYTES", 10_000)
    CocoDetection(root=write(tmp_path / "data", [annotation()]))
    assert not kept_in.exists()


def test_a_refused_file_leaves_no_index(tmp_path: Path, kept_in: Path) -> None:
    root = write(tmp_path / "data", [annotation(42, bbox=None)])
    for _ in range(2):
        with pytest.raises(ValueError, match="annotation 42 has bbox"):
            CocoDetection(root=root)
    assert indexes(kept_in) == []


def columns(number: int) -> Columns:
    return Columns({"values": np.arange(number)}, {"number": number})


def test_a_file_that_is_written_while_it_is_read_leaves_no_index(tmp_path: Path, kept_in: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("1")

    def read() -> Columns:
        file.write_text("12")
        return columns(3)

    assert indexed(file, reader="test 1", read=read).facts == {"number": 3}
    assert indexes(kept_in) == []


def test_another_version_of_the_reader_reads_anew(tmp_path: Path, kept_in: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("1")
    assert [indexed(file, reader=f"test {n}", read=lambda n=n: columns(n)).facts["number"] for n in (1, 1, 2)] == [
        *(1, 1, 2)
    ]
    assert len(indexes(kept_in)) == 1


def test_those_opened_last_are_kept_and_what_killed_processes_left_is_removed(
    tmp_path: Path, kept_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotation_index, "_KEPT", 3)
    (kept_in / ".1-2.3.new").mkdir(parents=True)
    (kept_in / ".1-2.4.new").mkdir()
    os.utime(kept_in / ".1-2.3.new", (0, 0))
    files = [tmp_path / f"{number}.json" for number in range(4)]
    for number, file in enumerate(files):
        file.write_text("1")
        indexed(file, reader="test 1", read=lambda number=number: columns(number))
        for age, folder in enumerate(sorted(indexes(kept_in), key=annotation_index._last_opened, reverse=True)):
            if (folder / "index.json").exists():
                os.utime(folder / "index.json", (1000 - 10 * age, 1000 - 10 * age))
    assert {folder.name for folder in indexes(kept_in) if folder.name.startswith(".")} == {".1-2.4.new"}
    read: list[int] = []
    for number, file in reversed(list(enumerate(files))):
        indexed(file, reader="test 1", read=lambda number=number: (read.append(number), columns(number))[1])
    assert read == [0]


def _open_at_once(root: Path, cache: str, start: Any, answers: Any) -> None:  # noqa: ANN401
    os.environ["MNV2DENSE_CACHE"] = cache
    annotation_index.WORTH_BYTES = 0
    read = coco_boxes._read
    readings = []
    coco_boxes._read = lambda file: (readings.append(1), read(file))[1]
    start.wait()
    answers.put((len(readings), CocoDetection(root=root).coco_ground_truth(), len(readings)))


def test_of_processes_that_open_a_file_at_once_one_reads_it(tmp_path: Path, kept_in: Path) -> None:
    root = write(tmp_path / "data", [annotation(), annotation(2)])
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(3), context.Queue()
    arguments = (root, str(tmp_path / "cache"), start, answers)
    processes = [context.Process(target=_open_at_once, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    told = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(after for _, _, after in told) == [0, 0, 1]
    assert all(truth == told[0][1] for _, truth, _ in told)
    assert len(indexes(kept_in)) == 1
