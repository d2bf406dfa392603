"""What to do about a package of one's own that Python does not find."""

from __future__ import annotations


def no_such_package(package: str) -> str:
    """Why its classes cannot be had, and both ways on."""
    return (
        f"Python finds no package {package!r}. Install it (pip install -e its folder), or run with PYTHONPATH=DIR, "
        f"where DIR is the folder that holds {package}/."
    )
