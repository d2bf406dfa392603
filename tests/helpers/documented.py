"""The commands and scripts of README and docs, found in their text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TOOL = re.compile(r"(?:^|/)(?:tools/(\w+)\.py|mnv2dense-(\w+))$")


class Command(NamedTuple):
    """One line that uses a tool.

    Attributes:
        page: where it stands.
        text: the line without its comment.
        tool: "train", ...
        arguments: what follows the tool.
    """

    page: str
    text: str
    tool: str
    arguments: tuple[str, ...]


class Fence(NamedTuple):
    """A block of code."""

    page: str
    language: str
    text: str


def fences() -> list[Fence]:
    """Every block of code of every page."""
    return [
        Fence(path.relative_to(ROOT).as_posix(), language, text)
        for path in PAGES
        for language, text in _FENCE.findall(path.read_text(encoding="utf-8"))
    ]


def shell_lines() -> list[tuple[str, str]]:
    """(page, line) of all blocks for bash; lines that end in a backslash go on, comments are left out."""
    return [
        (fence.page, " ".join(map(shlex.quote, words)) if "&&" not in words else line)
        for fence in fences()
        if fence.language == "bash"
        for line in re.sub(r"\\\n\s*", "", fence.text).splitlines()
        if (words := shlex.split(line, comments=True))
    ]


def commands() -> list[Command]:
    """Each command once, the first time that it stands in a block for bash."""
    found = [command for page, line in shell_lines() if (command := _command(page, line))]
    return list({command.text: command for command in reversed(found)}.values())[::-1]


def mentioned_commands() -> list[Command]:
    """Commands within sentences and tables, and those at the heads of configs."""
    found = []
    for path in PAGES:
        text = _FENCE.sub("", path.read_text(encoding="utf-8"))
        for line in re.findall(r"`(python tools/[^`]+)`", text):
            found.append(_command(path.relative_to(ROOT).as_posix(), line))
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for line in re.findall(r"^# ((?:python|torchrun) .*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            found.append(_command(path.relative_to(ROOT).as_posix(), line))
    return [command for command in found if command]


def _command(page: str, line: str) -> Command | None:
    for words in (shlex.split(part) for part in line.split("&&")):
        for position, word in enumerate(words):
            if match := _TOOL.search(word):
                arguments = tuple(words[position + 1 :])
                return Command(page, line.strip(), match[1] or match[2], arguments)
    return None
