"""A name for what has no types: modules and objects of packages that bring none."""

from __future__ import annotations

from typing import Any, TypeAlias

Untyped: TypeAlias = Any
"""An object of another project's, or its module; the package has no types, or is not always there to read them from."""
