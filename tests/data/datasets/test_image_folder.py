from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets.image_folder import ImageFolder


def image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, count in (("dog", 3), ("Äpfel & Co", 1), ("cat", 2)):
        for number in range(count):
            image(tmp_path / "train" / name / f"{number}.png", number)
    image(tmp_path / "train" / "cat" / "of mine" / "a.png", 9)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    return tmp_path


def test_classes_are_the_folders_in_alphabetical_order(root: Path) -> None:
    data = ImageFolder(root=root)
    assert data.class_names == ("cat", "dog", "Äpfel & Co")
    assert len(data) == 7
    assert [data[k].labels.tolist() for k in range(7)] == [[0]] * 3 + [[1]] * 3 + [[2]]  # type: ignore[union-attr]
    assert data[0].image.shape == (4, 6, 3)
    assert data[0].boxes is None
    assert data[0].mask is None
    assert data.path_of(data[2].image_id) == root / "train" / "cat" / "of mine" / "a.png"


def test_the_order_of_classes_can_be_given(root: Path) -> None:
    assert ImageFolder(root=root, class_names=["dog", "cat", "Äpfel & Co"])[0].path.parent.name == "dog"
    with pytest.raises(ValueError, match=r"class_names= differ in owl, Äpfel & Co; list each folder once"):
        ImageFolder(root=root, class_names=["dog", "cat", "owl"])
    with pytest.raises(ValueError, match=r"class_names: lists cat more than once"):
        ImageFolder(root=root, class_names=["dog", "cat", "Äpfel & Co", "cat"])


def test_a_limit_keeps_every_class(root: Path) -> None:
    assert [sample.labels.tolist() for sample in ImageFolder(root=root, limit=3)] == [[0], [0], [1]]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="limit=0"):
        ImageFolder(root=root, limit=0)


def test_a_missing_split_says_what_is_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val: no such folder \(looked from .*holds train\).*split="):
        ImageFolder(root=root, split="val")
    with pytest.raises(FileNotFoundError, match="holds no folders"):
        ImageFolder(root=root / "nowhere")


def test_folders_without_images_are_named(root: Path) -> None:
    (root / "train" / "owl").mkdir()
    with pytest.raises(ValueError, match=r"owl: a class without an image"):
        ImageFolder(root=root)
    with pytest.raises(ValueError, match="holds no folders; each class needs one"):
        ImageFolder(root=root / "train", split="cat/of mine")


def test_a_damaged_image_can_be_left_out(root: Path) -> None:
    (root / "train" / "dog" / "1.png").write_bytes(b"<html>")
    assert len(ImageFolder(root=root, bad_images="skip")) == 6
    with pytest.raises(ValueError, match=r"dog.1\.png"):
        list(ImageFolder(root=root))


def test_places_count_from_either_end_and_unknown_ids_are_refused(root: Path) -> None:
    data = ImageFolder(root=root)
    assert data[-1].image_id == data[6].image_id == 7
    assert data.path_of(7) == data[-1].path
    for image_id in (0, -1, 8):
        with pytest.raises(LookupError, match=rf"train: no image has the id {image_id} \(of 7 images\)"):
            data.path_of(image_id)
    with pytest.raises(IndexError):
        data[7]


def test_what_a_mac_leaves_in_archives_is_nobodys_data(root: Path) -> None:
    resource = b"\0\5\x16\7\0\2\0\0Mac OS X        "
    (root / "train" / "cat" / "._0.png").write_bytes(resource)
    (root / "train" / "__MACOSX" / "cat").mkdir(parents=True)
    (root / "train" / "__MACOSX" / "cat" / "._0.png").write_bytes(resource)
    data = ImageFolder(root=root)
    assert data.class_names == ("cat", "dog", "Äpfel & Co")
    assert len(list(data)) == 7


def test_a_single_word_is_one_class(tmp_path: Path) -> None:
    image(tmp_path / "train" / "cat" / "0.png")
    assert ImageFolder(root=tmp_path, class_names="cat").class_names == ("cat",)


def test_what_is_left_out_in_all_classes_is_one_line(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "train" / "dog" / "a.heic").write_bytes(b"")
    (root / "train" / "cat" / "b.heic").write_bytes(b"")
    (root / "train" / "cat" / "lost.png").symlink_to("/nowhere/lost.png")
    assert len(ImageFolder(root=root)) == 7
    (record,) = caplog.records
    assert "left out 2 .heic files (such as b.heic), 1 links to nothing (such as lost.png)" in record.getMessage()


def test_folders_of_the_same_class_are_told_and_not_lost(root: Path) -> None:
    image(root / "train" / "cat " / "0.png")
    with pytest.raises(ValueError, match=r"train/cat : the same class as 'cat' beside it; put them together"):
        ImageFolder(root=root)


@pytest.mark.parametrize("limit", [True, 1.5, "3"])
def test_a_limit_that_is_no_whole_number_is_refused(limit: object, root: Path) -> None:
    with pytest.raises(ValueError, match=f"limit={limit!r}: a whole number of images is needed"):
        ImageFolder(root=root, limit=limit)  # type: ignore[arg-type]


def test_keywords_of_version_0_1_still_work_with_a_note(root: Path) -> None:
    (root / "train" / "dog" / "0.png").write_bytes(b"damaged")
    with pytest.warns(DeprecationWarning, match=r"bad_pictures= is bad_images= now; .* until version 0.3"):
        data = ImageFolder(root=root, bad_pictures="skip")  # type: ignore[call-arg]
    assert data.skipped_images == 1
    with pytest.raises(TypeError, match=r"both are given; drop bad_pictures="):
        ImageFolder(root=root, bad_pictures="skip", bad_images="error")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="worse_pictures"):
        ImageFolder(root=root, worse_pictures="skip")  # type: ignore[call-arg]
