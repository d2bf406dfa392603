from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf


def composed(folder: Path, *words: str) -> object:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose("all", overrides=list(words)))


def test_what_one_command_makes_of_a_config_is_not_seen_by_the_next_and_a_changed_file_is_read_anew(
    tmp_path: Path,
) -> None:
    (tmp_path / "all.yaml").write_text("defaults: [part: one, _self_]\na: 1\n")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "one.yaml").write_text("b: 2\n")
    assert composed(tmp_path, "a=5", "part.b=6") == {"a": 5, "part": {"b": 6}}
    assert composed(tmp_path) == {"a": 1, "part": {"b": 2}}
    (tmp_path / "part" / "one.yaml").write_text("b: 23\n")
    assert composed(tmp_path) == {"a": 1, "part": {"b": 23}}
