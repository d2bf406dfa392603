"""What a teacher said is found again to the bit, and never stands in the way of training."""

from __future__ import annotations

import hashlib
import sqlite3
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mnv2dense.models.dense_model import DenseModel
from mnv2dense.training import KeptAnswers, TaughtLoss
from mnv2dense.training.kept_answers import fingerprint
from mnv2dense.types import Batch
from tests.helpers.tiny import random_images
from tests.training.test_teacher import MODELS, batch_for, far_from


def with_digests(batch: Batch) -> Batch:
    return batch._replace(
        digests=tuple(hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in batch.images)
    )


def parts_of(said: Any) -> list[Tensor]:  # noqa: ANN401 - what the task decodes
    return [said] if isinstance(said, Tensor) else [part for part in said if isinstance(part, Tensor)]


@pytest.mark.parametrize("kind", MODELS)
def test_a_kept_answer_is_the_live_one_to_the_bit(kind: str, tmp_path: Path) -> None:
    make, loss = MODELS[kind]
    teacher, batch = make(), with_digests(batch_for(make(), images=4))
    student = far_from(teacher)
    live = TaughtLoss(loss(), student, teacher).train()
    answers = KeptAnswers(tmp_path / "answers")
    kept = TaughtLoss(loss(), student, teacher, answers=answers).train()
    first = kept(student(batch.images), batch)
    assert (answers.found, answers.asked) == (0, 4)
    # Other neighbours, another place in the batch: an image is answered as it was.
    order = torch.tensor([2, 0, 3, 1])
    mixed = batch_for(teacher, images=4)._replace(
        images=batch.images[order], digests=tuple(batch.digests[place] for place in order) if batch.digests else None
    )
    again, asked = (each(student(mixed.images), mixed) for each in (kept, live))
    assert (answers.found, answers.asked) == (4, 4)
    assert all(torch.equal(again[name], asked[name]) for name in asked)
    alike = live(student(batch.images), batch)
    assert all(torch.equal(first[name], alike[name]) for name in alike)


def test_what_comes_back_is_what_was_said_and_the_file_serves_the_next_run(tmp_path: Path) -> None:
    teacher, batch = MODELS["pixels"][0](), with_digests(batch_for(MODELS["pixels"][0]()))
    assert batch.digests is not None
    said = teacher.decoded(batch.images)
    first = KeptAnswers(tmp_path)
    first.of(teacher, batch.images, batch.digests, lambda: said)
    back = KeptAnswers(tmp_path).of(teacher, batch.images, batch.digests, lambda: pytest.fail("asked again"))
    assert type(back) is type(said)
    assert back.size == said.size
    assert all(torch.equal(one, other) for one, other in zip(parts_of(back), parts_of(said), strict=True))


def test_a_batch_with_one_new_image_is_asked_as_a_whole_and_what_was_known_stays(tmp_path: Path) -> None:
    teacher, batch = MODELS["classes"][0](), with_digests(batch_for(MODELS["classes"][0](), images=3))
    assert batch.digests is not None
    answers = KeptAnswers(tmp_path)
    ones = torch.ones(2, 2)
    answers.of(teacher, batch.images[:2], batch.digests[:2], lambda: ones)
    said = answers.of(teacher, batch.images, batch.digests, lambda: torch.zeros(3, 2))
    assert torch.equal(said, torch.zeros(3, 2))
    assert torch.equal(answers.of(teacher, batch.images[:2], batch.digests[:2], lambda: torch.zeros(2, 2)), ones)


def test_another_teacher_or_precision_has_other_answers(tmp_path: Path) -> None:
    teacher, batch = MODELS["classes"][0](), with_digests(batch_for(MODELS["classes"][0]()))
    assert batch.digests is not None
    other = deepcopy(teacher)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-6
    assert fingerprint(teacher) == fingerprint(deepcopy(teacher)) != fingerprint(other)
    answers = KeptAnswers(tmp_path)
    answers.of(teacher, batch.images, batch.digests, lambda: torch.zeros(2, 2))
    answers.of(other, batch.images, batch.digests, lambda: torch.ones(2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        answers.of(teacher, batch.images, batch.digests, lambda: torch.full((2, 2), 0.5))
    assert (answers.found, answers.asked) == (0, 6)
    assert float(answers.of(teacher, batch.images, batch.digests, lambda: torch.ones(2, 2)).sum()) == 0


def test_files_teach_by_their_bytes(tmp_path: Path) -> None:
    class File:
        files = (tmp_path / "model.xml", tmp_path / "model.bin")

    for file in File.files:
        file.write_bytes(b"1")
    before = fingerprint(File())  # type: ignore[arg-type]
    File.files[1].write_bytes(b"2")
    assert fingerprint(File()) != before  # type: ignore[arg-type]


def test_a_full_disk_stops_the_keeping_and_not_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers = KeptAnswers(tmp_path)
    answers._base.execute("PRAGMA max_page_count=2")  # what SQLite calls a full disk
    teacher = MODELS["anchors"][0]()
    loss = TaughtLoss(MODELS["anchors"][1](), teacher, teacher, answers=answers).train()
    for seed in (1, 2):
        batch = batch_for(teacher)._replace(images=random_images(2, teacher.size, seed=seed))
        assert torch.isfinite(loss(teacher(batch.images), with_digests(batch))["teacher"])
    (record,) = caplog.records
    assert (
        "answers.sqlite: database or disk is full. What it does not hold yet is asked in every" in record.getMessage()
    )


def test_bad_folders_are_told(tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ValueError, match=r"answers\.sqlite: file is not a database\. Remove the file, or give another"):
        KeptAnswers(tmp_path)
    with pytest.raises(ValueError, match=r"teacher\.cache=.*: no folder can be made there"):
        KeptAnswers(tmp_path / "answers.sqlite" / "below")


def test_a_file_that_is_damaged_while_it_is_read_is_told(tmp_path: Path) -> None:
    answers = KeptAnswers(tmp_path)
    other = sqlite3.connect(answers.path)
    other.execute("DROP TABLE answers")
    other.close()
    with pytest.raises(ValueError, match=r"no such table: answers\. Remove the file"):
        answers.of(MODELS["classes"][0](), torch.zeros(1, 3, 8, 8), [b"1"], lambda: torch.zeros(1, 2))


def test_a_batch_without_digests_is_told_how_to_get_them(tmp_path: Path) -> None:
    teacher: DenseModel = MODELS["classes"][0]()
    batch = batch_for(teacher)
    loss = TaughtLoss(MODELS["classes"][1](), teacher, teacher, answers=KeptAnswers(tmp_path)).train()
    with pytest.raises(ValueError, match=r"make the mnv2dense\.DataModule with digests=True"):
        loss(teacher(batch.images), batch)
