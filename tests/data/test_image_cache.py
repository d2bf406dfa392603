from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from mnv2dense.data import DataModule, image_cache
from mnv2dense.data.augment import ClassificationAugment
from mnv2dense.data.datasets import ImageFolder
from mnv2dense.data.image_cache import ImageCache
from mnv2dense.io.reading import Undecoded, open_image, read_image
from mnv2dense.types import Sample


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four images of two classes, the caches below a folder of their own."""
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(image_cache, "_SHARED_MEMORY", shared)
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / "train" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (60, 80, 3)).astype(np.uint8))
    return tmp_path


class Opener:
    """Opens images and counts how many were decoded."""

    def __init__(self) -> None:
        self.decoded = 0

    def __call__(self, path: Path) -> Undecoded:
        image = open_image(path)

        def decode(reduction: int) -> tuple[np.ndarray, int]:
            self.decoded += 1
            return image.decode(reduction)

        return Undecoded(image.size, decode)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_an_image_is_decoded_once_and_comes_as_it_was(folder: Path, kind: image_cache.CacheKind) -> None:
    path, opener = folder / "train" / "a" / "0.jpg", Opener()
    cache, other_process = ImageCache(kind), ImageCache(kind)
    first = cache.opened(path, opener).decode(1)[0]
    kept = other_process.opened(path, opener)
    again = kept.decode(1)[0]
    assert opener.decoded == 1
    assert kept.size == (60, 80)
    assert np.array_equal(first, read_image(path))
    assert np.array_equal(again, first)
    again[:] = 0  # nobody else sees it
    assert np.array_equal(cache.opened(path, opener).decode(1)[0], first)


def test_kept_or_not_an_image_is_never_reduced_so_that_pixels_do_not_depend_on_who_came_first(folder: Path) -> None:
    cache, path = ImageCache("disk"), folder / "train" / "a" / "0.jpg"
    for _ in range(2):
        pixels, reduction = cache.opened(path, open_image).decode(4)
        assert reduction == 1
        assert pixels.shape == (60, 80, 3)


def test_a_changed_file_is_decoded_again(folder: Path) -> None:
    path, opener, cache = folder / "train" / "a" / "0.jpg", Opener(), ImageCache("disk")
    cache.opened(path, opener).decode(1)
    os.utime(path, ns=(0, 7))
    cache.opened(path, opener).decode(1)
    assert opener.decoded == 2
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    assert cache.opened(path, opener).decode(1)[0].shape == (20, 30, 3)
    assert cache.opened(path, opener).decode(1)[0].shape == (20, 30, 3)
    assert opener.decoded == 3


@pytest.mark.parametrize("damage", [b"", b"short", b"mnv2rgb1" + bytes(500)])
def test_half_a_file_is_none(folder: Path, damage: bytes) -> None:
    path, opener, cache = folder / "train" / "a" / "0.jpg", Opener(), ImageCache("disk")
    cache.opened(path, opener).decode(1)
    (kept,) = cache.folder.glob("??/*.rgb")
    kept.write_bytes(damage)
    assert np.array_equal(cache.opened(path, opener).decode(1)[0], read_image(path))
    cache.opened(path, opener)
    assert opener.decoded == 2


def test_what_finds_no_room_is_decoded_each_time_and_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    opener = Opener()
    caches = [ImageCache("disk", gigabytes=20e-6) for _ in range(2)]  # one image takes 14.4 kB
    with caplog.at_level(logging.WARNING):
        for cache in caches:
            for path in sorted(folder.glob("train/*/*.jpg")):
                assert np.array_equal(cache.opened(path, opener).decode(1)[0], read_image(path))
    assert opener.decoded == 4 + 3
    assert sum(kept.stat().st_size for kept in caches[0].folder.glob("??/*.rgb")) <= 20_000
    (told,) = caplog.messages
    assert "cache_gigabytes=" in told
    # What lies there counts when the next run begins.
    full = ImageCache("disk", gigabytes=14e-6)
    full.opened(folder / "train" / "b" / "1.jpg", opener).decode(1)
    assert len(list(full.folder.glob("??/*.rgb"))) == 1


def test_a_full_disk_costs_time_but_no_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cache, path = ImageCache("disk"), folder / "train" / "a" / "0.jpg"
    monkeypatch.setattr(image_cache, "atomic_write", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert np.array_equal(cache.opened(path, open_image).decode(1)[0], read_image(path))
    (told,) = caplog.messages
    assert "No space left" in told


def test_memory_is_freed_by_the_last_run_that_uses_it_and_after_one_that_was_killed(folder: Path) -> None:
    cache, path = ImageCache("ram"), folder / "train" / "a" / "0.jpg"
    cache.opened(path, open_image).decode(1)
    base = cache.folder.parent
    living = base / "users" / str(os.getppid())
    living.touch()
    image_cache._leave(base, os.getpid())
    assert list(cache.folder.glob("??/*.rgb"))  # another one uses it
    living.unlink()
    (base / "users" / str(2**22 + 1)).touch()  # beyond the largest id: a process that is no more
    assert not list(ImageCache("ram").folder.glob("??/*.rgb"))
    image_cache._leave(base, os.getpid())
    assert not cache.folder.exists()


def test_memory_that_others_could_write_to_is_refused(folder: Path) -> None:
    base = folder / "shm" / f"mnv2dense-{os.getuid()}"
    base.mkdir()
    base.chmod(0o777)
    with pytest.raises(OSError, match="others may write to it"):
        ImageCache("ram")


def test_workers_share_it_and_batches_are_what_they_are_without(folder: Path) -> None:
    def batches(**options: object) -> list[np.ndarray]:
        module = DataModule(
            train=ImageFolder(root=folder),
            val=None,
            augment=ClassificationAugment(),
            size=(32, 32),
            batch_size=2,
            **options,  # type: ignore[arg-type]
        )
        return [batch.images.numpy() for _ in range(2) for batch in module.train_dataloader()]

    plain = batches(num_workers=0)
    kept = batches(num_workers=1, cache="ram")
    assert all(np.array_equal(one, two) for one, two in zip(plain, kept, strict=True))
    assert len(list((folder / "shm").glob("*/images/??/*.rgb"))) == 4


def test_options_outside_their_values_and_data_that_reads_for_itself_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"cache=memory: ram, disk, or null"):
        ImageCache("memory")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cache_gigabytes=0: a number above 0"):
        ImageCache("disk", gigabytes=0)

    class Own:
        class_names = ("a",)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            raise AssertionError

    with pytest.raises(ValueError, match="Own reads its images itself"):
        _ = DataModule(train=Own(), val=None, cache="disk").train  # type: ignore[arg-type]
