from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from mnv2dense.pretrained import named, read_pretrained
from mnv2dense.pretrained.checkpoint_file import CheckpointError


def test_a_missing_file_is_named_with_what_is_accepted() -> None:
    with pytest.raises(FileNotFoundError, match=r"weights='no/where/at all': no such file.*\.safetensors"):
        read_pretrained("no/where/at all")


@pytest.mark.parametrize("content", ["{}", '{"model_type": "mobilenet_v2"}', '{"architecture": "mobilenetv2_100"}'])
def test_a_folder_without_tensors_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor pytorch_model.bin"):
        read_pretrained(tmp_path)


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileNotFoundError, match=r"holds no weights that are known here. Accepted are a run folder"):
        read_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not valid JSON"), ("[1]", "holds a list"), ("[" * 100_000, "nested too deep")]
)
def test_a_broken_config_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"config.json:? .*{message}"):
        read_pretrained(tmp_path)


def test_an_entry_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_file({"stem.0.weight": torch.zeros(1)}, file, metadata={"mnv2dense": "[" * 100_000})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: its entry 'mnv2dense' cannot be read"):
        read_pretrained(file)


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "weights"])
def test_a_file_of_another_kind_is_refused_by_its_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(ValueError, match=rf"{name} is a .*, which is no file of weights. Accepted are"):
        read_pretrained(tmp_path / name)


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors", "empty.pt", "empty.safetensors", "page.bin"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    tensors = {"features.1.conv.0.0.weight": torch.ones(100, 100)}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "page": b"<html>not found</html>"}[path.stem])
    with pytest.raises(ValueError, match=rf"{name}.*damaged"):
        read_pretrained(path)


class RunsWhenLoaded:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".tar", ".ckpt"])
def test_a_pickled_object_is_refused_and_nothing_of_it_runs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"hostile{suffix}"
    torch.save({"state_dict": RunsWhenLoaded(tmp_path / "it_ran")}, path)
    with pytest.raises(ValueError, match=r"hostile.* is refused.*that loading would run"):
        read_pretrained(path)
    assert not (tmp_path / "it_ran").exists()


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v2(width_mult=0.35), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model.pt is refused.*Save the model's state_dict"):
        read_pretrained(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["resnet18.pth", "resnet18.safetensors"])
def test_another_architecture_is_refused_by_its_names(tmp_path: Path, name: str) -> None:
    tensors = torchvision.models.resnet18().state_dict()
    save_file(tensors, tmp_path / name) if name.endswith("s") else torch.save(tensors, tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: its 122 tensors \(.*\) are named as no MobileNetV2"):
        read_pretrained(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "holds no tensors, only epoch"),
        ({}, "holds no tensors, only an empty dict"),
        ([1, 2], "holds a list, not a dict of tensors"),
    ],
)
def test_a_torch_file_without_tensors_is_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        read_pretrained(tmp_path / "other.pth")


def test_a_folder_called_like_a_name_is_asked_for_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("imagenet").mkdir()
    monkeypatch.setattr(named, "download", lambda url, file, *, sha256: Path(f"asked for {file.name}"))
    with pytest.raises(FileNotFoundError, match=r"looked at .*asked for mobilenet_v2"):
        read_pretrained("imagenet")
    for path in ("./imagenet", Path("imagenet")):
        with pytest.raises(FileNotFoundError, match=r"imagenet holds no weights"):
            read_pretrained(path)
