from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mnv2dense.models.architectures import mobilenet_v2_classifier
from mnv2dense.models.checkpoint import load_model, save_model
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.hub import from_pretrained, push_to_hub, save_pretrained
from mnv2dense.pretrained import read_pretrained
from mnv2dense.pretrained.checkpoint_file import CheckpointError
from tests.helpers.fake_hub import TOKEN, FakeHub, serving_hub
from tests.helpers.tiny import random_images, tiny_model
from tests.training.test_rebuild import model_on


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return tiny_model(class_names=["cat", "dog", "owl"], resize="letterbox")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.chdir(tmp_path)
    with serving_hub(monkeypatch, tmp_path / "hub_cache") as server:
        yield server


def assert_same(ours: DenseModel, theirs: DenseModel) -> None:
    assert not ours.training
    assert ours.config == theirs.config
    for mine, other in zip(ours(random_images()), theirs(random_images()), strict=True):
        assert torch.equal(mine, other)


def test_a_saved_folder_gives_the_same_model(model: DenseModel, tmp_path: Path) -> None:
    folder = save_pretrained(model, tmp_path / "new" / "pets")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert_same(from_pretrained(folder), model)
    assert_same(from_pretrained(str(folder)), model)
    config = json.loads((folder / "config.json").read_text())
    assert config["mnv2dense"]["config"]["class_names"] == ["cat", "dog", "owl"]


def test_a_saved_folder_is_weights_like_any_other(model: DenseModel, tmp_path: Path) -> None:
    folder = save_pretrained(model, tmp_path / "pets")
    assert_same(load_model(folder), model)
    assert torch.equal(read_pretrained(folder).backbone["stem.0.weight"], model.backbone.state_dict()["stem.0.weight"])


def test_a_folder_that_is_saved_again_holds_the_new_model_and_the_users_card(model: DenseModel, tmp_path: Path) -> None:
    folder = save_pretrained(model, tmp_path)
    (folder / "README.md").write_text("my own words")
    other = tiny_model(2, seed=1)
    save_pretrained(other, folder)
    assert_same(from_pretrained(folder), other)
    assert (folder / "README.md").read_text() == "my own words"


def test_the_model_card_says_what_the_hub_sorts_by_and_how_to_load(model: DenseModel, tmp_path: Path) -> None:
    card = (save_pretrained(model, tmp_path / "a", repo_id="me/pets", license="apache-2.0") / "README.md").read_text()
    _, about, text = card.split("---\n")
    assert "license: apache-2.0\nlibrary_name: mnv2dense\npipeline_tag: object-detection\n" in about
    assert "- mobilenetv2\n" in about
    assert "MobileNetV2 with SSDLiteHead: " in text
    assert "3 classes: cat, dog, owl." in text
    assert 'mnv2dense.from_pretrained("me/pets")' in text
    classifier = mobilenet_v2_classifier(2, width_mult=0.35)
    card = (save_pretrained(classifier, tmp_path / "b") / "README.md").read_text()
    assert "license" not in card  # nobody said one
    assert "pipeline_tag: image-classification" in card


def test_the_model_card_of_another_backbone_calls_it_by_its_name(tmp_path: Path) -> None:
    card = (save_pretrained(model_on("OneMap"), tmp_path) / "README.md").read_text()
    assert "tags:\n- mnv2dense\n- model_hub_mixin\n" in card
    assert "OneMap with ClassifierHead: " in card


def test_the_model_card_is_what_the_hub_reads(model: DenseModel, tmp_path: Path) -> None:
    cards = pytest.importorskip("huggingface_hub").ModelCard
    about = cards.load(save_pretrained(model, tmp_path, license="mit") / "README.md").data
    assert (about.license, about.library_name, about.pipeline_tag) == ("mit", "mnv2dense", "object-detection")


def test_a_config_that_names_other_code_is_refused(model: DenseModel, tmp_path: Path) -> None:
    folder = save_pretrained(model, tmp_path)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["mnv2dense"]["config"]["head"]["_target_"] = "subprocess.Popen"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"'subprocess\.Popen' is refused"):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has format 99, this version reads 1: update mnv2dense"),
        ({"config": "none"}, "describes no model of mnv2dense"),
        ({"config": {}}, "The model's config lacks 'size'"),
    ],
)
def test_a_config_that_cannot_be_used_is_explained(
    model: DenseModel, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = save_pretrained(model, tmp_path)
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["mnv2dense"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(folder)


def test_a_folder_without_its_tensors_or_with_damaged_ones_is_explained(model: DenseModel, tmp_path: Path) -> None:
    folder = save_pretrained(model, tmp_path)
    tensors = folder / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        from_pretrained(folder)
    tensors.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing beside its config\.json"):
        from_pretrained(folder)


def test_runs_and_checkpoints_are_taken_too(model: DenseModel, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    file = save_model(model, tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert_same(from_pretrained(tmp_path / "run"), model)
    assert_same(from_pretrained(file), model)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        from_pretrained(tmp_path / "nowhere")


def test_hugging_faces_own_classifier_is_taken_too(shared: Path) -> None:
    model = from_pretrained(shared / "weights" / "mobilenet_v2_1.0_224")
    assert len(model.class_names) == 1000


# The library's own, of its way to call its HTTP library.
uploads = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@uploads
def test_a_model_pushed_to_the_hub_is_the_same_from_there(model: DenseModel, hub: FakeHub) -> None:
    address = push_to_hub(model, "me/pets", private=True, token=TOKEN, commit_message="First pets")
    assert address.startswith(f"{hub.url}/me/pets/commit/")
    files = hub.repositories["me/pets"]["main"]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert b'from_pretrained("me/pets")' in files["README.md"]
    assert hub.messages == ["First pets"]
    assert hub.private == {"me/pets"}
    assert_same(from_pretrained("me/pets", token=TOKEN), model)
    with pytest.raises(FileNotFoundError, match="no repository me/pets that this account may read"):
        from_pretrained("me/pets@other")


@uploads
def test_a_second_push_goes_to_its_branch_and_leaves_the_card(model: DenseModel, hub: FakeHub) -> None:
    push_to_hub(model, "pets", token=TOKEN)
    hub.repositories["owner/pets"]["main"]["README.md"] = b"my own words"
    other = tiny_model(2, seed=1)
    push_to_hub(other, "owner/pets", token=TOKEN, revision="small")
    assert hub.repositories["owner/pets"]["small"]["README.md"] == b"my own words"
    assert_same(from_pretrained("owner/pets", revision="small"), other)
    assert_same(from_pretrained("owner/pets"), model)


def test_who_may_not_push_is_told_to_log_in(model: DenseModel, hub: FakeHub) -> None:
    with pytest.raises(OSError, match=r"me/pets: the model was not uploaded .* Log in with `hf auth login`") as caught:
        push_to_hub(model, "me/pets")
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}


def test_a_name_that_the_hub_cannot_have_is_refused(model: DenseModel, hub: FakeHub) -> None:
    with pytest.raises(ValueError, match="Repo id"):
        push_to_hub(model, "me/my/pets", token=TOKEN)


def test_without_the_hubs_library_folders_still_work(
    model: DenseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert_same(from_pretrained(save_pretrained(model, tmp_path)), model)
    with pytest.raises(ImportError, match=r"pip install 'mnv2dense\[hub\]'"):
        push_to_hub(model, "me/pets")


def test_importing_loads_neither_the_hubs_library_nor_a_progress_bar() -> None:
    heavy = "huggingface_hub safetensors filelock rich httpx requests"
    program = f"import mnv2dense.models.hub, sys; print(*(name for name in '{heavy}'.split() if name in sys.modules))"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.split() == []
