"""Roles in docstrings (``:class:`X```) become links of the site, and one that points nowhere a warning.

Editors and ``help()`` show docstrings as they are, so these name things by roles; mkdocstrings wants Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any, final

import griffe
from mkdocs.plugins import get_plugin_logger

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):`(~?)([\w.]+)`")

_log = get_plugin_logger("docstring_roles")


@final
class DocstringRoles(griffe.Extension):
    """What griffe calls for the package once it is read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:  # noqa: ANN401 - griffe's own
        """Rewrite every docstring of it."""
        for item in list(_objects(pkg)):
            if item.docstring is not None:
                item.docstring.value = _ROLE.sub(lambda role, item=item: _link(role, item, pkg), item.docstring.value)


def _objects(item: griffe.Object) -> Iterator[griffe.Object]:
    yield item
    for member in item.members.values():
        if isinstance(member, griffe.Object):
            yield from _objects(member)


def _link(role: re.Match[str], item: griffe.Object, package: griffe.Module) -> str:
    """Of a role: a link where the site has the target, its name where it has not; the last part of it after a ``~``."""
    name = role[2]
    shown = name.rpartition(".")[2] if role[1] else name
    code = f"<code>{escape(shown)}</code>"
    target = _target(name, item, package)
    if target is None:
        return code
    return f'<autoref identifier="{target}" optional>{code}</autoref>'


def _target(name: str, item: griffe.Object, package: griffe.Module) -> str | None:
    """The whole path of what a docstring of ``item`` calls ``name``; None for what is not of the package."""
    scope: griffe.Object | None = item
    while scope is not None:  # the thing itself, its class, its module
        if (found := _member(scope, name)) is not None:
            return found
        scope = scope.parent  # type: ignore[assignment]  # griffe: a module or a class, never an alias, here
    first, _, rest = name.partition(".")
    if first == package.name:
        if (found := _member(package, rest)) is not None:
            return found
    elif "." in name:
        return None  # another project's
    _log.warning("%s: its docstring names %s, which is not there.", item.path, name)
    return None


def _member(scope: griffe.Object, name: str) -> str | None:
    found: griffe.Object | griffe.Alias = scope
    for part in name.split("."):
        try:
            found = found.all_members[part] if found.is_class else found.members[part]
            found = found.final_target if isinstance(found, griffe.Alias) else found
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None
    return found.path
