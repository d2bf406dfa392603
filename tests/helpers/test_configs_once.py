from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text("defaults: [part: one, _self_]\na: 1\n")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "one.yaml").write_text("b: 2\n")
    return tmp_path


def composed(folder: Path, *words: str) -> object:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose("all", overrides=list(words)))


def test_what_one_command_makes_of_a_config_is_not_seen_by_the_next_and_a_changed_file_is_read_anew(
    folder: Path,
) -> None:
    assert composed(folder, "a=5", "part.b=6") == {"a": 5, "part": {"b": 6}}
    assert composed(folder) == {"a": 1, "part": {"b": 2}}
    (folder / "part" / "one.yaml").write_text("b: 23\n")
    assert composed(folder) == {"a": 1, "part": {"b": 23}}


def test_another_choice_and_one_that_has_just_been_written_are_other_configs(folder: Path) -> None:
    assert composed(folder, "+part@second=one", "a=5") == {"a": 5, "part": {"b": 2}, "second": {"b": 2}}
    assert composed(folder) == {"a": 1, "part": {"b": 2}}
    for _ in range(2):
        with pytest.raises(HydraException, match="part/two"):
            composed(folder, "part=two")
    (folder / "part" / "two.yaml").write_text("c: 3\n")
    assert composed(folder, "part=two") == {"a": 1, "part": {"c": 3}}


def test_a_file_that_stays_as_it_is_is_parsed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed(folder)
    monkeypatch.setattr("yaml.load", lambda file, Loader: pytest.fail(f"{file} is parsed once more"))  # noqa: N803 - PyYAML's
    assert composed(folder, "a=7") == {"a": 7, "part": {"b": 2}}
    assert composed(folder, "+part@second=one") == {"a": 1, "part": {"b": 2}, "second": {"b": 2}}
