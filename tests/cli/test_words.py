"""What is typed is taken as it is typed: in paths and sentences, whatever signs they hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mnv2dense.cli.dashes import with_dashes
from mnv2dense.cli.parts import built
from mnv2dense.cli.shell import conf_folder
from mnv2dense.cli.words import as_typed, words_for_hydra
from tests.helpers.tiny import command

NAMES = [
    *("2024_01", "20240131", "1e3", "1", "007", "0x10", "true", "yes", "nan", "1:30"),
    *("é猫.jpg", "#1.jpg", "a=b.jpg", "a (1).jpg", "{1}.jpg", "[x].jpg", "[x]", "a,b.jpg", "a b.jpg", " a", "it's.jpg"),
    *(
        '"q".jpg',
        "'q'.jpg",
        "a\\b.jpg",
        "end\\",
        "${x}.jpg",
        "${oc.env:HOME}",
        "\\${x}",
        "\\\\${x}",
        "$x",
        "100%",
        "~/a",
    ),
    *("a:b", "@a", "a;b", "a|b", "*.jpg", "a?b", "!a", "&a", "<<", "- a", "? a", "key: value", "a/../b", "glob(a)"),
]


def _read(word: str) -> object:
    """What Hydra and OmegaConf make of one word."""
    (override,) = OverridesParser.create().parse_overrides([word])
    return OmegaConf.create({"read": override.value()}).read


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["source", "run_dir", "data.root", "license", "backbone.weights", "+data.masks"])
def test_every_name_arrives_as_it_was_typed(key: str, name: str) -> None:
    (word,) = words_for_hydra([f"{key}={name}"], command="train")
    assert _read(word) == (name[1:-1] if len(name) > 1 and name[0] in "'\"" and name[-1] == name[0] else name)
    (word,) = words_for_hydra([f"{key}=pics/{name}"], command="train")
    assert _read(word) == f"pics/{name}"


def test_a_folder_called_like_an_interpolation_comes_to_its_data_set_and_back_from_its_run() -> None:
    words = words_for_hydra(["data=voc", "data.root=a/${x}"], command="train")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", overrides=words)
    assert config.data.root == "a/${x}"
    assert built(config.data.train, _target_="builtins.dict")["root"] == "a/${x}"
    written = OmegaConf.to_container(config.data, resolve=True)  # as in config.yaml
    assert built(OmegaConf.create(as_typed(written)).train, _target_="builtins.dict")["root"] == "a/${x}"


def test_lists_of_paths_are_lists() -> None:
    words = words_for_hydra(["models=[a b.onnx@0.71,1e3,'c,d.xml', \"e\"]", "run_dir=1"], command="benchmark")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("benchmark", overrides=words)
    assert list(config.models) == ["a b.onnx@0.71", "1e3", "c,d.xml", "e"]
    assert config.run_dir == "1"


@pytest.mark.parametrize("name", NAMES)
def test_one_path_alone_is_a_list_of_one_as_it_was_typed(name: str) -> None:
    for typed in (f"pics/{name}", f"{name}.onnx"):
        (word,) = words_for_hydra([f"models={typed}"], command="benchmark")
        assert OmegaConf.to_container(_read(word), resolve=True) == [typed]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("packages=mine", ["mine"]),
        ("outputs=json", ["json"]),
        ("outputs=[json,csv]", ["json", "csv"]),
        ("+curves=AP", ["AP"]),
        ("keep_float=backbone.stem", ["backbone.stem"]),
        ("keep_float=auto:4", "auto:4"),
        ("head.features=last_conv", ["last_conv"]),
        ("curves=null", None),
        ("models=null", None),
    ],
)
def test_one_name_alone_is_a_list_of_one(typed: str, read: object) -> None:
    (word,) = words_for_hydra([typed], command="train")
    assert _read(word) == read


def test_nothing_null_flags_and_quoted_words_stay() -> None:
    words = [
        "checkpoint=null",
        "run_dir=",
        "source='a b'",
        'title="a"',
        "--cfg",
        "job",
        "~data.root",
        "trainer.max_epochs=1",
    ]
    assert words_for_hydra(words, command="predict") == words


def test_several_values_are_several_runs_where_that_is_asked_for() -> None:
    assert words_for_hydra(["-m", "data.root=a,b", "run_dir=1"], command="train") == [
        "-m",
        "data.root=a,b",
        "run_dir='1'",
    ]


def test_a_task_is_a_word_to_compare_with_in_an_evaluation_and_a_group_elsewhere() -> None:
    assert words_for_hydra(["task=detection"], command="evaluate") == ["expected_task=detection"]
    assert words_for_hydra(["task=detection"], command="train") == ["task=detection"]


@pytest.mark.parametrize("name", ["#1", "a=b", "a (1)", "{1}", "[x]", "é猫", "${x}"])
def test_the_message_names_a_missing_file_as_it_was_typed(name: str, place: None) -> None:
    outcome = command("predict", "checkpoint=shapes", f"source={name}.jpg")
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: source={name}.jpg: no ")


def test_an_interpolation_that_cannot_be_is_explained_without_a_second_error(place: None) -> None:
    outcome = command("predict", "checkpoint=shapes", "source=x.jpg", "opacity=${y}")
    assert outcome.code == 2
    assert outcome.err.startswith("error: Interpolation key 'y' not found")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("train", "--data voc", "--data voc: options are written without dashes, data=voc."),
        ("train", "task=detection --epochs 5", "--epochs 5: options are written without dashes, trainer.max_epochs=5."),
        ("train", "--batch-size=8 data=voc", "--batch-size=8: options are written without dashes, data.batch_size=8."),
        ("train", "--experiment ssdlite_voc", "without dashes, experiment=ssdlite_voc."),
        ("train", "--compile seed=1", "--compile: options are written without dashes, compile=..."),
        ("predict", "--treshold 0.3 --help", "--treshold 0.3: options are written without dashes, threshold=0.3."),
        ("train", "-d voc", "-d voc: options are written without dashes, as key=value; --help lists them."),
    ],
)
def test_options_with_dashes_are_answered_in_one_line_with_the_way_to_write_them(
    name: str, typed: str, said: str, place: None
) -> None:
    outcome = command(name, *typed.split())
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("typed", ["--cfg job", "-c job", "--multi seed=1", "-cjob --resolve", "seed=-1", "--", "-m"])
def test_flags_of_hydra_are_left_to_it(typed: str) -> None:
    assert with_dashes(typed.split(), config_folder=str(conf_folder()), config_name="train") is None


def test_words_of_parts_hold_lists_and_any_name_of_a_head() -> None:
    typed = [
        "data.parts.masks=[mask_folder,root=my roads,class_names=[a,b]]",
        "data.draws.masks=3",
        "loss.weights.masks=2",
    ]
    made = words_for_hydra(typed, command="train")
    assert made == [
        "++data.parts.masks=['mask_folder','root=my roads','class_names=[a,b]']",
        "++data.draws.masks=3",
        "++loss.weights.masks=2",
    ]
    assert words_for_hydra([typed[0], "--multirun"], command="train")[0] == made[0]
    assert words_for_hydra(["callbacks.freeze.heads=boxes"], command="train") == ["callbacks.freeze.heads=['boxes']"]


@pytest.mark.parametrize("name", NAMES)
def test_runs_to_compare_stand_one_after_the_other_whatever_they_are_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = f"runs/{name}"
    if "=" in path:  # what looks like an option is a path where there is such a file
        Path("runs").mkdir()
        Path(path).touch()
    words = words_for_hydra(["--config-dir", "conf", path, "draws=200", "last"], command="compare")
    assert words[:-1] == ["--config-dir", "conf", "draws=200"]
    assert list(_read(words[-1])) == [path, "last"]  # type: ignore[call-overload]
    assert words_for_hydra([path], command="train") == [path]


def test_a_list_of_runs_may_be_an_option_too() -> None:
    (word,) = words_for_hydra(["models=[a,b.onnx]"], command="compare")
    assert list(_read(word)) == ["a", "b.onnx"]  # type: ignore[call-overload]
