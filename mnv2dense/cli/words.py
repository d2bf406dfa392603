"""The words of a command line, as Hydra should read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mnv2dense.utils.renamed import address_now, option_now

# Paths, names and sentences: all of these are taken as they are typed, whatever signs they hold.
_TEXTS: Final = frozenset(
    {
        *("checkpoint", "run_dir", "resume", "init_from", "source", "output", "images", "image", "calibration"),
        *("samples", "build", "runtime", "title", "license", "backbone.weights", "exam.images"),
        *("explain.class", "explain.head", "labels.model", "labels.weights"),
        *("teacher.model", "teacher.cache", "split.groups", "table"),
        *("root", "train_split", "val_split", "split", "year", "images", "masks", "annotations"),
    }
)

# Of these, what is typed is a list of such; without brackets, a list of one.
_LISTS: Final = frozenset({"file", "models"})

# Data of the heads, by their names: choices and options as on a command line.
_ANY_NAME: Final = "data.parts."

# A number for each head, where there is nothing, or one word, as long as nobody says one.
_NUMBERS_BY_NAME: Final = ("data.draws.", "loss.weights.")

# Lists of names, in Hydra's own grammar; a name alone is a list of one.
_LISTS_OF_NAMES: Final = frozenset(
    {
        *("packages", "outputs", "curves", "keep_float", "fail_on", "head.features", "head.class_features"),
        *("callbacks.freeze.heads", "heads", "precisions"),
        *("callbacks.history.scores", "callbacks.progress.scores", "callbacks.quantization_aware.keep_float"),
    }
)
_NAME = re.compile(r"(?!auto:)[^\[\](){},$]+")  # auto:4 is how many, of keep_float

# For Hydra the left one would choose, or replace, a whole group of configs; here it is a word to compare with the
# checkpoint's, and what switches on what the group describes.
_OWN_MEANING: Final[Mapping[str, Mapping[str, str]]] = {
    "evaluate": {"task": "expected_task"},
    "fit_budget": {"task": "for_task"},
    "predict": {"track": "track.enabled", "explain": "explain.enabled"},
    "doctor": {"labels": "labels.enabled"},
}

# Words that are no option are values of this list: compare.py RUN RUN.
_BARE_WORDS: Final[Mapping[str, str]] = {"check": "file", "compare": "models"}
_FLAGS_WITH_A_VALUE: Final = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c")

# What asks Hydra for several runs, in the place of a value.
_SWEEP = re.compile(r"\b(choice|range|interval|glob|shuffle|sort|tag)\(|,")


def word_now(word: str) -> str:
    """A word with option and class by their names of today, of one that may be of version 0.1."""
    if word.startswith("-"):
        return word
    key, equals, value = option_now(word).partition("=")
    return f"{key}{equals}{address_now(value) if key.endswith('_target_') else value}"


def words_for_hydra(words: Sequence[str], *, command: str) -> list[str]:
    """The same, with texts quoted: Hydra would take them for numbers, lists or interpolations, or refuse them.

    Args:
        words: of the command line, without the program's name.
        command: its name, "train".
    """
    own = _OWN_MEANING.get(command, {})
    words, bare_words = _apart(words) if command in _BARE_WORDS else (words, [])
    several = any(word in ("-m", "--multirun") for word in words)
    made = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or word.startswith("-"):
            made.append(word)
            continue
        bare = key.lstrip("+")
        if bare in own:
            key = own[bare]
        elif bare.startswith(_NUMBERS_BY_NAME) or (several and not bare.startswith(_ANY_NAME) and _SWEEP.search(value)):
            pass
        elif (bare in _LISTS or bare.startswith(_ANY_NAME)) and value.startswith("[") and value.endswith("]"):
            value = f"[{','.join(quoted(part.strip()) for part in _parts(value[1:-1]))}]"
        elif bare in _LISTS or (bare in _LISTS_OF_NAMES and _NAME.fullmatch(value)):
            value = value if value in ("", "null") else f"[{quoted(value)}]"
        elif bare in _TEXTS or (bare.startswith("data.") and bare.rpartition(".")[2] in _TEXTS):
            value = quoted(value)
        # Any name of a head may stand there, which Hydra has to be told.
        added = "++" if bare.startswith((_ANY_NAME, *_NUMBERS_BY_NAME)) and bare == key else ""
        made.append(f"{added}{key}{equals}{value}")
    if bare_words:
        made.append(f"{_BARE_WORDS[command]}=[{','.join(map(quoted, bare_words))}]")
    return made


def _apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options and flags; and the other words, among them paths that are there, whatever signs they hold."""
    options: list[str] = []
    bare: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_value = before in _FLAGS_WITH_A_VALUE
        is_bare = not is_value and not word.startswith("-") and ("=" not in word or Path(word).exists())
        (bare if is_bare else options).append(word)
    return options, bare


def quoted(value: str) -> str:
    """A text as Hydra and OmegaConf give it back unchanged; nothing, null and what is quoted already are left."""
    if value in ("", "null") or (len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]):
        return value
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=without_interpolations(value), quote=Quote.single).with_quotes()


def without_interpolations(value: str) -> str:
    """A text in which OmegaConf finds no ``${...}`` to replace, and which it gives back as it was."""
    return re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value)


def as_typed(node: Any) -> Any:  # noqa: ANN401 - a nest of plain values
    """The same nest, to be read by OmegaConf without replacing anything in its texts."""
    if isinstance(node, Mapping):
        return {key: as_typed(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [as_typed(value) for value in node]
    return without_interpolations(node) if isinstance(node, str) else node


def _parts(listed: str) -> list[str]:
    """What stands between commas, of which there may be some in quotes, and in brackets within."""
    return re.findall(r"(?:'[^']*'|\"[^\"]*\"|\[[^\]]*\]|[^,\[])+", listed)
