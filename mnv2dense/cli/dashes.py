"""Options typed as other programs have them, ``--data voc``, told in the way that they are written: ``data=voc``."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2dense.utils.suggest import near

# Hydra's own, and ours.
_FLAGS = frozenset(
    {
        *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--info"),
        *("--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun"),
    }
)
_SHORT_FLAGS = ("-h", "-c", "-p", "-r", "-m", "-i", "-sc")  # one may have its value behind it: -cjob


def with_dashes(words: Sequence[str], *, config_folder: str, config_name: str) -> str | None:
    """What to tell of the first option that is written with dashes; None where none is.

    Args:
        words: of the command line, without the program's name.
        config_folder: where the configs are.
        config_name: the command's own config, "train".
    """
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if len(word.lstrip("-")) == len(word) or not word.strip("-") or _is_flag(flag):
            continue
        from mnv2dense.cli.config_errors import known_options

        others = [other for other in words if "=" in other and not other.startswith("-")]
        known = known_options(config_folder, config_name, others)
        key = flag.strip("-").replace("-", "_")
        if key not in known and any(each.startswith(flag) for each in _FLAGS):  # argparse takes beginnings
            continue
        following = words[place + 1 : place + 2]
        if not equals and following and "=" not in following[0] and not following[0].startswith("-"):
            word, value = f"{word} {following[0]}", following[0]
        meant = _meant(key, known)
        way = "as key=value; --help lists them" if meant is None else f"{meant}={value or '...'}"
        return f"{word}: options are written without dashes, {way}."
    return None


def _is_flag(flag: str) -> bool:
    return flag in _FLAGS or (not flag.startswith("--") and flag.startswith(_SHORT_FLAGS))


def _meant(key: str, known: Sequence[str]) -> str | None:
    """The option of that name, in whatever table; else one whose name ends so; else the nearest."""
    if key in known:
        return key
    outermost = sorted(known, key=lambda name: name.count("."))
    called = {name: name.rpartition(".")[2] for name in outermost}
    exact = [name for name in outermost if called[name] == key]
    ending = [name for name in outermost if called[name].endswith(f"_{key}")]
    return next(iter([*exact, *ending, *near(key, known)]), None)
