from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import resource
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.checkpoint import load_model, load_weights, model_entry, save_model
from mnv2dense.models.convert import save_safetensors
from mnv2dense.models.dense_model import DenseModel, build_model
from mnv2dense.models.hub import save_pretrained
from mnv2dense.ops.postprocess import ClassSelection
from mnv2dense.pretrained import named, read_pretrained
from mnv2dense.pretrained.checkpoint_file import CheckpointError, find_checkpoint
from mnv2dense.types import FeatureInfo
from tests.helpers.tiny import random_images, tiny_model


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return tiny_model(class_names=["cat", "dog", "owl"], resize="letterbox")


@pytest.fixture(scope="module")
def saved(model: DenseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(model, tmp_path_factory.mktemp("saved") / "model.ckpt")


def test_a_loaded_model_gives_the_same_raw_predictions(model: DenseModel, saved: Path) -> None:
    loaded = load_model(saved)
    assert not loaded.training
    assert loaded.class_names == ("cat", "dog", "owl")
    assert (loaded.size, loaded.resize) == (model.size, "letterbox")
    for ours, theirs in zip(model(random_images()), loaded(random_images()), strict=True):
        assert torch.equal(ours, theirs)


def test_a_run_folder_stands_for_its_best_checkpoint_and_else_its_last(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.touch()
    assert find_checkpoint(tmp_path) == last
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.touch()
    assert find_checkpoint(tmp_path) == best
    assert find_checkpoint(tmp_path / "checkpoints") == best
    assert find_checkpoint(str(last)) == last


def test_a_path_that_is_not_there_says_where_was_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"'nowhere' does not exist \(looked at {tmp_path}/nowhere\)"):
        load_model("nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoints/best\.ckpt or checkpoints/last\.ckpt"):
        load_model(tmp_path)


def test_of_a_misspelt_run_the_nearest_beside_it_is_named(tmp_path: Path) -> None:
    for name in ("2026-11-29_07-32-38", "2026-11-29_07-32-99"):
        (tmp_path / name).mkdir()
    (tmp_path / "2026-11-29_07-32-38" / "checkpoints").mkdir()
    (tmp_path / "2026-11-29_07-32-38" / "checkpoints" / "best.ckpt").touch()
    said = rf"-39' does not exist \(looked at .*\)\. Did you mean {tmp_path}/2026-11-29_07-32-38\?$"
    with pytest.raises(FileNotFoundError, match=said):
        find_checkpoint(tmp_path / "2026-11-29_07-32-39")


def test_of_a_folder_of_runs_the_newest_is_named(tmp_path: Path) -> None:
    for age, name in enumerate(("detection/b", "detection/a", "segmentation/c")):
        file = tmp_path / name / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    for folder in (tmp_path / "detection", tmp_path):
        newest = re.escape(f"The newest run in it is {tmp_path}/detection/b; give that one.")
        with pytest.raises(FileNotFoundError, match=newest):
            load_model(folder)
        with pytest.raises(FileNotFoundError, match=newest):
            read_pretrained(folder)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.999])
def test_a_file_cut_short_is_refused(saved: Path, tmp_path: Path, kept: float) -> None:
    content = saved.read_bytes()
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(CheckpointError, match=r"cut\.ckpt"):
        load_model(cut)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"hello", b".", b"G", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"page\.ckpt"):
        load_model(tmp_path / "page.ckpt")


@pytest.mark.parametrize(
    "content",
    [
        {"weight": torch.zeros(2)},
        torch.zeros(2),
        [1, 2],
        {"mnv2dense": 3},
        {"mnv2dense": {"format": 1, "config": {}}},
    ],
)
def test_a_torch_file_of_another_project_is_told_where_it_could_go(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match=r"not a checkpoint of mnv2dense.* go to backbone\.weights="):
        load_model(tmp_path / "foreign.ckpt")


class TouchesAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(
    model: DenseModel, tmp_path: Path, save: Callable[[object, Path], object]
) -> None:
    touched = tmp_path / "touched"
    file = tmp_path / "hostile.ckpt"
    save({"mnv2dense": model_entry(model), "extra": TouchesAFile(touched)}, file)
    with pytest.raises(CheckpointError, match=r"hostile\.ckpt is refused: .* that loading would run"):
        load_model(file)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("os.system", {"command": "touch {folder}/drawn"}),
        ("subprocess.Popen", {"args": ["touch", "{folder}/drawn"]}),
        ("builtins.open", {"file": "{folder}/drawn", "mode": "w"}),
        ("mnv2dense.data.shapes.detection.draw_shapes", {"folder": "{folder}/drawn"}),
        ("mnv2dense.models.dense_model.importlib.import_module", {"name": "this"}),
    ],
)
@pytest.mark.parametrize("part", ["backbone", "head"])
def test_a_config_in_a_file_may_name_nothing_that_acts(
    model: DenseModel, tmp_path: Path, part: str, target: str, options: dict[str, Any]
) -> None:
    entry = model_entry(model)
    placed = {key: str(value).format(folder=tmp_path) for key, value in options.items()}
    hostile = {"_target_": target, "features": ["stride16_expanded", "last_conv"], **placed}
    entry["config"] = entry["config"] | {part: hostile}
    torch.save({"mnv2dense": entry}, tmp_path / "hostile.ckpt")
    with pytest.raises(CheckpointError, match=rf"{part}\._target_='{target}'"):
        load_model(tmp_path / "hostile.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.ckpt"]


def test_a_format_from_the_future_asks_for_an_update(model: DenseModel, tmp_path: Path) -> None:
    torch.save({"mnv2dense": model_entry(model) | {"format": 2}}, tmp_path / "new.ckpt")
    with pytest.raises(CheckpointError, match=r"has format 2, this version reads 1: update mnv2dense"):
        load_model(tmp_path / "new.ckpt")


def test_weights_that_do_not_belong_to_the_config_are_an_error(model: DenseModel, tmp_path: Path) -> None:
    entry = model_entry(model)
    entry["weights"].pop("backbone.stem.0.weight")
    torch.save({"mnv2dense": entry}, tmp_path / "lacking.ckpt")
    with pytest.raises(CheckpointError, match=r"lacking\.ckpt: .*backbone\.stem\.0\.weight"):
        load_model(tmp_path / "lacking.ckpt")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_numbers_of_another_kind_are_no_weights(model: DenseModel, tmp_path: Path, dtype: torch.dtype) -> None:
    entry = model_entry(model)
    entry["weights"]["backbone.stem.0.weight"] = entry["weights"]["backbone.stem.0.weight"].to(dtype)
    torch.save({"mnv2dense": entry}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=rf"1 tensors are no weights: 'backbone\.stem\.0\.weight' is of {dtype}"):
        load_model(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backbone.stem.0.weight", float("nan")),
        ("backbone.stem.1.running_var", float("inf")),
        ("head.class_predictors.0.1.bias", -float("inf")),
    ],
)
def test_weights_that_are_no_numbers_are_refused_wherever_they_are_loaded(
    model: DenseModel, tmp_path: Path, name: str, value: float
) -> None:
    entry = model_entry(model, {key: tensor.clone() for key, tensor in model.state_dict().items()})
    entry["weights"][name].flatten()[1] = value
    torch.save({"mnv2dense": entry}, tmp_path / "diverged.ckpt")
    said = rf"diverged\.ckpt: 1 tensors hold NaN or infinity, first '{name}' with 1 of \d+ numbers\. Get the file again"
    with pytest.raises(CheckpointError, match=said):
        load_model(tmp_path / "diverged.ckpt")
    other = tiny_model(class_names=["cat", "dog", "owl"], seed=1)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=said):
        load_weights(other, tmp_path / "diverged.ckpt")
    assert all(torch.equal(tensor, before[key]) for key, tensor in other.state_dict().items())
    if name.startswith("backbone."):
        with pytest.raises(ValueError, match=said.replace("backbone.", "")):
            mobilenet_v2(weights=tmp_path / "diverged.ckpt")


def test_another_number_of_classes_takes_all_but_the_class_predictors(saved: Path, model: DenseModel) -> None:
    other = tiny_model(5, seed=1)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    loaded = load_weights(other, saved)
    after, source = other.state_dict(), model.state_dict()
    assert all(name.startswith("head.class_predictors.") for name in loaded.left)
    assert {name.rpartition(".")[0][-2:] for name in loaded.left} == {".1"}  # their last convolutions alone
    assert len(loaded.left) == 6 * 2
    assert all(torch.equal(after[name], before[name]) for name in loaded.left)
    assert all(torch.equal(after[name], source[name]) for name in loaded.taken)
    assert len(loaded.taken) + len(loaded.left) == len(after)


def test_weights_of_which_none_fits_are_an_error(model: DenseModel, tmp_path: Path) -> None:
    entry = model_entry(model) | {"weights": {"stem": torch.zeros(3)}}
    torch.save({"mnv2dense": entry}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"none of its tensors fits this model; is it of another width"):
        load_weights(tiny_model(), tmp_path / "other.ckpt")


FACTORY = "mnv2dense.models.mobilenet_v2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": FACTORY}, r"backbone\._target_=.* is refused: a file may name"),
        ({"weights": "secret.pth"}, "backbone names weights of its own, which is refused"),
        ({"_target_": FACTORY, "options": [{"weights": "secret.pth"}]}, "backbone names weights of its own"),
        ({"_target_": "mnv2dense.reuse.timm.TimmBackbone", "features": None}, r"backbone\._target_=.* is refused"),
    ],
)
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".safetensors"])
def test_a_config_in_a_file_may_name_no_other_weights(
    model: DenseModel, tmp_path: Path, suffix: str, change: dict[str, Any], message: str
) -> None:
    """Reading them would end in FileNotFoundError."""
    entry = model_entry(model)
    entry["config"] = entry["config"] | {"backbone": entry["config"]["backbone"] | change}
    path = tmp_path / f"hostile{suffix}"
    if suffix == ".safetensors":
        entry = {"format": 1, "config": entry["config"]}
        save_file(model.state_dict(), path, metadata={"mnv2dense": json.dumps(entry)})
        message = f"{message}|not a MobileNetV2|its backbone has no option"
    else:
        torch.save({"mnv2dense": entry}, path)
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_a_small_file_cannot_ask_for_a_large_model(model: DenseModel, tmp_path: Path) -> None:
    """Of width 16 one tensor is larger than the file; it is never made."""
    entry = model_entry(model)
    entry["config"] = entry["config"] | {"backbone": entry["config"]["backbone"] | {"width_mult": 16.0}}
    torch.save({"mnv2dense": entry}, tmp_path / "large.ckpt")
    entry["weights"] = dict(build_on_meta(entry["config"]))
    torch.save({"mnv2dense": entry}, tmp_path / "spread.ckpt")
    with _largest_allocation(100_000_000):
        with pytest.raises(CheckpointError, match=r"large\.ckpt: \d+ tensors are missing or of another shape"):
            load_model(tmp_path / "large.ckpt")
        with pytest.raises(CheckpointError, match=r"spread\.ckpt: .* is spread over .* fewer values are in the file"):
            load_model(tmp_path / "spread.ckpt")


def build_on_meta(config: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a model's shapes that each hold a single value."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in build_model(config).state_dict().items()}
    for name, shape in shapes.items():
        yield name, torch.zeros(()).expand(shape)


@contextlib.contextmanager
def _largest_allocation(limit: int) -> Iterator[None]:
    """Fail where the process's memory grows by more bytes than ``limit``."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < limit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width_mult": 17}, "width_mult=17 must be positive, and at most 16"),
        ({"width_mult": "abc"}, "width_mult='abc' must be a number"),
        ({"depth_mult": 1e9}, "depth_mult=1000000000.0 must be at least 1, the paper's depth, and at most 8"),
        ({"expansion": 10**9}, "expansion=1000000000 must be a whole number, 1 to 64"),
        ({"std": [0, 0, 0]}, "std=.* so it must be above 0"),
        ({"unknown": 1}, "'unknown'"),
    ],
)
def test_values_out_of_range_in_a_file_are_named(
    model: DenseModel, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    entry = model_entry(model)
    entry["config"] = entry["config"] | {"backbone": entry["config"]["backbone"] | change}
    torch.save({"mnv2dense": entry}, tmp_path / "off.ckpt")
    with pytest.raises(CheckpointError, match=rf"off\.ckpt: .*{message}"):
        load_model(tmp_path / "off.ckpt")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": [10**9, 10**9]}, r"model\.size=\[1000000000, 1000000000\]: both sides must be at most 16384"),
        ({"size": "large"}, r"model\.size='large' must be \[height, width\]"),
        ({"size": [10**400, 64]}, r"model\.size=\[10{30}.{0,40}\.\.\.: both sides must be at most 16384"),
        ({"size": [64.5, 64]}, r"model\.size=\[64\.5, 64\] must be \[height, width\], whole pixels"),
        ({"size": "64"}, r"model\.size='64' must be"),
        ({"class_names": 3}, "class_names=3 is no list of class names"),
        ({"class_names": "cat"}, r"class_names='cat' is no list of class names, as in \[cat, dog\]"),
        ({"category_ids": [1, 2**63, 3]}, f"category_ids has {2**63}; they are whole numbers of at most 64 bits"),
        ({"category_ids": [1, True, 3]}, "category_ids has True"),
        ({"class_names": [1, None, "cat"]}, "class_names has 1, which is no text; put names in quotes"),
        ({"head": 3}, "head=3 must be a table of options"),
    ],
)
def test_other_parts_of_a_config_that_are_off_are_named(
    model: DenseModel, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    entry = model_entry(model)
    entry["config"] = entry["config"] | config
    torch.save({"mnv2dense": entry}, tmp_path / "off.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path / "off.ckpt")


@pytest.mark.parametrize("name", ["model.pt", "model.tar", "model.bin", "MODEL.PTH", "model.pth"])
def test_a_torchvision_classifier_is_loaded_by_any_suffix_of_torch(tmp_path: Path, name: str) -> None:
    theirs = torchvision.models.mobilenet_v2(num_classes=7, width_mult=0.35).eval()
    torch.save({"epoch": 3, "state_dict": theirs.state_dict()}, tmp_path / name)
    loaded = load_model(tmp_path / name)
    images = random_images()
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), theirs(loaded.normalize(images)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["model.pt", "MODEL.CKPT", "model.pth"])
def test_our_own_file_is_loaded_by_any_suffix(model: DenseModel, tmp_path: Path, name: str) -> None:
    assert load_model(save_model(model, tmp_path / name)).config == model.config


def test_a_name_is_resolved_and_a_path_is_not(
    model: DenseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(named.PUBLISHED, "imagenet", named.Published("https://somewhere/model.ckpt", "", ""))
    monkeypatch.setattr(named, "download", lambda url, file, *, sha256: save_model(model, tmp_path / "fetched.ckpt"))
    assert load_model("imagenet").config == model.config
    with pytest.raises(FileNotFoundError, match=r"'imagenet' does not exist .* Give a run folder"):
        load_model(Path("imagenet"))
    with pytest.raises(FileNotFoundError, match="Did you mean 'torchvision'"):
        load_model("torchvison")
    with pytest.raises(FileNotFoundError, match=r"'runs/one/two' does not exist .* Give a run folder .* or a \.ckpt"):
        load_model("runs/one/two")


class OwnHead(nn.Module):
    """A head of a user's package that cannot be built without memory: it reads a tensor's value."""

    task = "classification"

    def __init__(self, features: dict[str, FeatureInfo], *, size: tuple[int, int], class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = class_names
        self.config = {"_target_": f"{__name__}.OwnHead", "features": list(features)}
        self.selection = ClassSelection(tuple(class_names))
        self.scale = torch.tensor(2.0).item()
        self.classifier = nn.Linear(1280, len(class_names))


def test_a_class_of_another_package_is_built_where_the_package_is_named(tmp_path: Path) -> None:
    backbone = mobilenet_v2(width_mult=0.35)
    own = DenseModel(backbone, OwnHead(backbone.feature_info, size=(96, 96), class_names=["cat"]), size=(96, 96))
    path = save_model(own, tmp_path / "own.ckpt")
    with pytest.raises(
        CheckpointError, match=r"OwnHead' is refused: .* trust the package tests, add packages=\[tests\]"
    ):
        load_model(path)
    loaded = load_model(path, packages=("mnv2dense", "tests"))
    assert torch.equal(loaded.head.classifier.weight, own.head.classifier.weight)  # type: ignore[union-attr]
    assert load_model(save_model(own, tmp_path / "own.pt"), packages=("tests",)).config == own.config


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_one_flipped_bit_in_a_checkpoint_is_said(model: DenseModel, tmp_path: Path) -> None:
    file = save_model(model, tmp_path / "model.ckpt")
    flip_a_bit(file)
    with pytest.raises(
        CheckpointError, match=r"model\.ckpt cannot be read \(the checksum of .* is wrong.*; it is damag"
    ):
        load_model(file)


def test_a_damaged_last_checkpoint_names_the_best_beside_it(model: DenseModel, tmp_path: Path) -> None:
    best, last = (save_model(model, tmp_path / name) for name in ("best.ckpt", "last.ckpt"))
    last.write_bytes(last.read_bytes()[:50_000])
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt cannot be read .*best\.ckpt beside it is whole: give that one"
    ):
        load_model(last)
    flip_a_bit(best)
    with pytest.raises(CheckpointError, match=r"damaged, cut short or no checkpoint\.$"):
        load_model(last)


def other_doors(model: DenseModel, folder: Path) -> Iterator[tuple[Path, int]]:
    """Ways to hand on weights, and how many of the model's tensors each brings."""
    whole, backbone = len(model.state_dict()), len(model.backbone.state_dict())
    yield save_safetensors(model, folder / "whole.safetensors"), whole
    yield save_safetensors(model.backbone, folder / "backbone.safetensors"), backbone
    yield save_pretrained(model, folder / "folder"), whole
    yield save_model(model, folder / "model.pt"), whole


@pytest.mark.slow
def test_a_run_begins_with_weights_from_every_door_that_models_are_loaded_by(model: DenseModel, tmp_path: Path) -> None:
    for door, count in other_doors(model, tmp_path):
        begun = tiny_model(seed=1, class_names=["cat", "dog", "owl"])
        loaded = load_weights(begun, door)
        assert len(loaded.taken) == count, door
        after = begun.state_dict()
        assert all(torch.equal(after[name], model.state_dict()[name]) for name in loaded.taken)


def test_a_run_begins_with_weights_by_name() -> None:
    begun = tiny_model(seed=1)
    assert "backbone.stem.0.weight" in load_weights(begun, "shapes").taken


def test_weights_of_another_normalisation_say_which_options_they_need(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v2 as torchvisions

    torch.save(torchvisions(width_mult=0.35).state_dict(), tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=r"start from it with backbone\.mean=\[0\.485,0\.456,0\.406\]"):
        load_weights(tiny_model(), tmp_path / "theirs.pth")
