from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnv2dense.pretrained import named
from mnv2dense.pretrained.named import PUBLISHED, names, resolve
from mnv2dense.utils.download import DownloadError, WrongHashError
from tests.helpers.fake_hub import TOKEN, FakeHub, serving_hub
from tests.helpers.file_server import FileServer, serving

CONTENT = b"tensors" * 1000


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a cache of the test's own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MNV2DENSE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """What the names of single files stand for, on this machine."""
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    with serving() as server:
        for name, published in PUBLISHED.items():
            server.files["/models/mobilenet_v2-1.pth"] = CONTENT
            here = published._replace(url=f"{server.url}/models/mobilenet_v2-1.pth", sha256=digits)
            monkeypatch.setitem(named.PUBLISHED, name, here)
        yield server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving_hub(monkeypatch, tmp_path / "hub_cache") as server:
        files = {"config.json": b"{}", "model.safetensors": CONTENT, "pytorch_model.bin": b"", "flax.msgpack": b""}
        server.repositories["google/mobilenet_v2_1.0_224"] = {"main": files, "v1": files | {"config.json": b'{"v": 1}'}}
        yield server


def test_the_published_files_are_torchvisions_own() -> None:
    models = pytest.importorskip("torchvision.models")
    for name, theirs in (
        ("torchvision", models.MobileNet_V2_Weights.IMAGENET1K_V2),
        ("imagenet", models.MobileNet_V2_Weights.IMAGENET1K_V2),
        ("torchvision_v1", models.MobileNet_V2_Weights.IMAGENET1K_V1),
    ):
        published = PUBLISHED[name]
        assert published.url == theirs.url
        # torch.hub checks these same digits of the file's name.
        assert published.url.endswith(f"-{published.sha256}.pth")
        assert str(theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]) in published.about


def test_timms_names_are_timms_own() -> None:
    timm = pytest.importorskip("timm")
    for name, repository in named.HUB_NAMES.items():
        config = timm.get_pretrained_cfg(name)  # of its default weights
        assert repository == f"timm/{config.architecture}.{config.tag}"


def test_a_name_is_fetched_into_the_cache_once(site: FileServer, tmp_path: Path) -> None:
    found = resolve("torchvision")
    assert found == tmp_path / "cache" / "weights" / "mobilenet_v2-1.pth"
    assert found.read_bytes() == CONTENT
    assert resolve("imagenet") == found
    assert len(site.ranges) == 1


def test_another_file_than_the_published_one_is_not_taken(site: FileServer) -> None:
    site.files["/models/mobilenet_v2-1.pth"] = b"a login page"
    with pytest.raises(WrongHashError, match=r"mobilenet_v2-1\.pth: what came has the sha256"):
        resolve("torchvision_v1")


def test_a_folder_called_like_a_name_is_asked_for_with_its_path(alone: Path, site: FileServer) -> None:
    (alone / "imagenet").mkdir()
    assert resolve("./imagenet") is None
    assert site.ranges == []
    assert resolve("imagenet") is not None
    assert len(site.ranges) == 1


@pytest.mark.parametrize(
    "path",
    [
        "nowhere",
        "runs/detection/2025-01-31_12-00-00",
        "./runs/detection",
        "../weights/mobilenet",
        "~/weights",
        "/weights/mobilenet",
        "runs/detection/",
        "weights/best.ckpt",
        "weights/mobilenet_v2.pth",
        "mobilenetv2_100.pth",
        "",
    ],
)
def test_what_can_only_be_a_path_is_left_to_the_reader(path: str, hub: FakeHub) -> None:
    assert resolve(path) is None
    assert hub.requests == []


def test_two_parts_are_a_path_where_the_first_is_a_folder(alone: Path, hub: FakeHub) -> None:
    (alone / "runs").mkdir()
    assert resolve("runs/detection") is None
    (alone / "google" / "mobilenet_v2_1.0_224").mkdir(parents=True)
    assert resolve("google/mobilenet_v2_1.0_224") is None
    assert hub.requests == []


@pytest.mark.parametrize(
    ("wrong", "right"), [("torchvison", "torchvision"), ("ImageNet", "imagenet"), ("mobilenetv2_110", "_110d")]
)
def test_a_misspelt_name_is_answered_with_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"no such name, file or folder .* Did you mean .*{right}'.* Known names"
    ):
        resolve(wrong)


def test_names_lists_all_of_them() -> None:
    assert {"torchvision", "imagenet", "torchvision_v1", "mobilenetv2_050", "mobilenetv2_140"} < set(names())


def test_a_repository_of_the_hub_becomes_a_folder_of_what_is_read(hub: FakeHub, tmp_path: Path) -> None:
    folder = resolve("google/mobilenet_v2_1.0_224")
    assert folder is not None
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert folder.is_relative_to(tmp_path / "hub_cache")


def test_a_revision_stands_behind_an_at_or_beside(hub: FakeHub) -> None:
    for folder in (
        resolve("google/mobilenet_v2_1.0_224@v1"),
        resolve("google/mobilenet_v2_1.0_224", revision="v1"),
        resolve("google/mobilenet_v2_1.0_224@v1", revision="v1"),
    ):
        assert folder is not None
        assert (folder / "config.json").read_bytes() == b'{"v": 1}'
    with pytest.raises(ValueError, match="names a revision, and revision='v2' is another"):
        resolve("google/mobilenet_v2_1.0_224@v1", revision="v2")
    with pytest.raises(FileNotFoundError, match="has no revision 'v9'"):
        resolve("google/mobilenet_v2_1.0_224@v9")
    for no_repository in ("torchvision", "nowhere", "."):
        with pytest.raises(ValueError, match="it has no revision='v1'"):
            resolve(no_repository, revision="v1")


def test_timms_names_are_read_from_its_repositories(hub: FakeHub) -> None:
    hub.repositories["timm/mobilenetv2_100.ra_in1k"] = {"main": {"config.json": b"{}", "model.safetensors": CONTENT}}
    folder = resolve("mobilenetv2_100")
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == CONTENT


def test_pickled_tensors_are_fetched_only_where_there_are_no_others(hub: FakeHub) -> None:
    hub.repositories["some/old"] = {"main": {"config.json": b"{}", "pytorch_model.bin": CONTENT}}
    folder = resolve("some/old")
    assert folder is not None
    assert (folder / "pytorch_model.bin").read_bytes() == CONTENT
    hub.repositories["some/words"] = {"main": {"README.md": b"words"}}
    with pytest.raises(FileNotFoundError, match=r"holds neither model\.safetensors nor"):
        resolve("some/words")


def test_two_words_that_are_neither_are_answered_for_both_readings(alone: Path, hub: FakeHub) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        resolve("runs/detection")
    message = str(caught.value)
    assert "the Hugging Face hub has no repository runs/detection" in message
    assert (
        f"If a run folder, a .ckpt or another file was meant: there is none at {alone / 'runs/detection'}." in message
    )
    assert hub.requests


def test_a_private_repository_wants_a_token(hub: FakeHub) -> None:
    hub.private.add("google/mobilenet_v2_1.0_224")
    with pytest.raises(FileNotFoundError, match="log in with `hf auth login`"):
        resolve("google/mobilenet_v2_1.0_224")
    assert resolve("google/mobilenet_v2_1.0_224", token=TOKEN) is not None


def test_without_a_network_the_cache_serves_and_else_the_way_by_hand_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alone: Path
) -> None:
    with serving_hub(monkeypatch, tmp_path / "hub_cache") as server:
        server.repositories["some/model"] = {"main": {"config.json": b"{}", "model.safetensors": CONTENT}}
        fetched = resolve("some/model")
    assert resolve("some/model") == fetched  # the server is gone
    with pytest.raises(DownloadError) as caught:
        resolve("some/other")
    message = str(caught.value)
    assert "some/other could not be fetched from the Hugging Face hub" in message
    assert "put its config.json and model.safetensors into a folder and give that folder" in message
    assert f"there is none at {alone / 'some/other'}" in message
    assert "\n" not in message


def test_without_the_hubs_library_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        ImportError, match=r"pip install 'mnv2dense\[hub\]'.* If a run folder, a .ckpt or another file was meant"
    ):
        resolve("some/model")


def test_googles_names_are_its_repositories_unless_a_folder_is_called_so(alone: Path, hub: FakeHub) -> None:
    folder = resolve("mobilenet_v2_1.0_224")
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert "deeplabv3_mobilenet_v2_1.0_513" in names()
    asked = len(hub.requests)
    (alone / "mobilenet_v2_1.0_224").mkdir()
    assert resolve("mobilenet_v2_1.0_224") is None
    assert len(hub.requests) == asked
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'mobilenet_v2_1\.4_224'"):
        resolve("mobilenet_v2_1.4_22")


@pytest.mark.parametrize(
    ("weights", "license"),
    [
        ("imagenet", "bsd-3-clause"),
        ("torchvision_v1", "bsd-3-clause"),
        ("mobilenet_v2_1.0_224", "apache-2.0"),
        ("google/deeplabv3_mobilenet_v2_1.0_513@main", "apache-2.0"),
        (Path("downloads/mobilenet_v2_1.0_224"), "apache-2.0"),  # a copy of the repository
        ("mobilenetv2_100", "apache-2.0"),
        ("shapes", "apache-2.0"),
        ("somebody/mobilenet", None),
        ("runs/detection/imagenet", None),  # a run that is called so
        ("./shapes", None),
    ],
)
def test_published_weights_have_the_licence_that_their_owners_state(weights: str | Path, license: str | None) -> None:
    assert named.license_of(weights) == license
