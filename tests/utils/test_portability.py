"""Windows and macOS lack some of Linux' modules and signals; nothing may need them merely to be imported."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCES = sorted([*(ROOT / "mnv2dense").rglob("*.py"), *(ROOT / "tools").glob("*.py")])

LACKED = {"crypt", "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
"""Modules of the standard library that Windows does not have."""

LACKED_NAMES = re.compile(
    r"\b(?:os\.(?:fork|getuid|geteuid|mkfifo|nice|sched_getaffinity|killpg|setsid|sysconf|uname)"
    r"|signal\.(?:SIGUSR1|SIGUSR2|SIGKILL|SIGHUP|SIGALRM|alarm|pause)|time\.tzset)\b"
)
"""Attributes that Windows, or macOS too, does not have."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_imports_what_other_systems_lack(path: Path) -> None:
    found = []
    for node in imported_at_once(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        found += [name for name in names if name.partition(".")[0] in LACKED]
    assert not found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_what_other_systems_lack_is_asked_for_before_it_is_used(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        for used in LACKED_NAMES.findall(line):
            holder, _, attribute = used.partition(".")
            guard = re.compile(rf'hasattr\({holder}, (?:"{attribute}"|name)\)')
            near = "\n".join(lines[max(0, number - 3) : number + 1])
            assert guard.search(near), f"{path}:{number + 1}: {used} without hasattr"


def imported_at_once(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """Imports outside of functions and of ``if TYPE_CHECKING``: those that importing the module runs."""
    found: list[ast.Import | ast.ImportFrom] = []
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        nodes += ast.iter_child_nodes(node)
    return found
