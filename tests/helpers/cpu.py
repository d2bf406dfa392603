"""What the CPU at hand does to integers."""

from __future__ import annotations

import platform
from pathlib import Path


def saturates() -> bool:
    """Whether this is an x86 CPU without VNNI, where ONNX Runtime and OpenVINO add products of int8 in 16 bits.

    They overflow there (docs/export.md), so the same file gives other numbers than on CPUs with VNNI.
    """
    cpu = Path("/proc/cpuinfo")
    return platform.machine() in ("x86_64", "AMD64") and cpu.is_file() and "vnni" not in cpu.read_text()
