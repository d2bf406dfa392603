from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnv2dense.reporting.run_config import trained_config, trusted_part

HONEST: dict[str, Any] = {
    "root": "coco",
    "batch_size": 16,
    "val": {"_target_": "mnv2dense.data.datasets.CocoDetection", "root": "coco", "limit": None},
}


def test_a_run_of_our_own_is_believed() -> None:
    assert trusted_part({"data": HONEST}, "data") == HONEST
    assert trusted_part({}, "data") is None
    assert trusted_part(None, "data") is None


@pytest.mark.parametrize(
    "hostile",
    [
        {"_target_": "os.system", "command": "touch owned"},
        {"_target_": "mnv2dense.data.collate.np.load", "file": "payload.npy", "allow_pickle": True},
        {"_target_": "mnv2dense.data.shapes.detection.draw_shapes", "folder": "/somewhere"},
        {"_target_": "mnv2dense.data.datasets.CocoDetection", "root": "${oc.env:HOME}"},
        {"_target_": "mnv2dense.data.datasets.CocoDetection", "_args_": [{"_target_": "os.system"}]},
        {"_target_": "mnv2dense.data.datasets.CocoDetection", "root": {"_target_": "os.getcwd"}},
        {"_target_": "mnv2dense.data.datasets.CocoDetection", "root": [{"_partial_": True}]},
        {"_target_": {"_target_": "os.getcwd"}},
        "${oc.create:{_target_: numpy.load, file: payload.npy}}",
    ],
)
def test_what_could_run_code_is_refused_with_the_next_step(hostile: object) -> None:
    with pytest.raises(ValueError, match=r"refused: it could run code. Name the data on the command line"):
        trusted_part({"data": {**HONEST, "val": hostile}}, "data")


def test_shards_of_a_folder_are_believed_and_no_file_sends_anybody_to_an_address() -> None:
    shards = {"_target_": "mnv2dense.data.shards.open_shards", "root": "coco_shards"}
    assert trusted_part({"data": {"val": shards}}, "data") == {"val": shards}
    joint = {"_target_": "mnv2dense.data.datasets.JointDataset"}
    for root in ("http://10.0.0.1/admin", "s3://bucket/x"):
        for val in ({**shards, "root": root}, {**joint, "parts": {"boxes": {**shards, "root": root}}}):
            with pytest.raises(ValueError, match=f"as in data=shards data.root={root}"):
                trusted_part({"data": {"val": val}}, "data")


def test_a_part_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ValueError, match="as its data; name the data on the command line"):
        trusted_part({"data": "coco"}, "data")


# Nine aliases of nine aliases of ...: 400 million values in a few lines.
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize("text", ["data: [", BOMB, "data: " + "[" * 5000])
def test_a_damaged_or_hostile_config_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    checkpoint = tmp_path / "checkpoints" / "best.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    with pytest.raises(ValueError, match=r"config.yaml is not valid YAML"):
        trained_config(checkpoint)


def test_a_checkpoint_alone_and_other_projects_weights_have_no_config(tmp_path: Path) -> None:
    for name in ("best.ckpt", "mobilenet_v2.pth"):
        (tmp_path / name).touch()
        assert trained_config(tmp_path / name) is None
