"""How long commands take to begin, as ratios to `import torch` in the same run.

    python benchmarks/startup.py
    python benchmarks/startup.py --rounds 3 typo help

All take turns, so that a busy machine slows every one of them alike; what is reported are medians and their ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TOOLS = Path(__file__).absolute().parent.parent / "tools"


class Start(NamedTuple):
    """A command, and how much longer than `import torch` it may take until what one waits for is there."""

    words: tuple[str, ...]
    waits_for: str
    limit: float | None


STARTS = {
    "torch": Start(("-c", "import torch"), "its end", None),
    "typo": Start((f"{TOOLS}/train.py", "task=detektion"), "its end", 0.7),
    "help": Start((f"{TOOLS}/train.py", "--help"), "its end", 0.7),
    "version": Start((f"{TOOLS}/train.py", "--version"), "its end", 0.7),
    "info": Start((f"{TOOLS}/info.py",), "its end", 2.0),
    "predict": Start(
        (f"{TOOLS}/predict.py", "checkpoint=shapes", "source=pictures", "run_dir=out", "device=cpu"),
        "the first image",
        2.0,
    ),
    "train": Start(
        (f"{TOOLS}/train.py", "task=detection", "data.train_images=64", "data.val_images=16", "run_dir=out"),
        "the first line",
        3.0,
    ),
    "steps": Start(
        (f"{TOOLS}/train.py", "task=detection", "data.train_images=64", "data.val_images=16", "run_dir=out"),
        "the third line, before the first step",
        None,
    ),
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(STARTS)}; none is all of them")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - STARTS.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(STARTS)}")
    names = [name for name in STARTS if name == "torch" or name in (arguments.names or STARTS)]
    with tempfile.TemporaryDirectory(prefix="mnv2dense-startup-") as made:
        seconds = _take_turns(names, Path(made), arguments.rounds)
    torch = statistics.median(seconds["torch"])
    print(f"medians of {arguments.rounds}, taken in turns; import torch: {torch:.2f} s\n")
    print("| command | until | s | ratio | limit |\n| --- | --- | ---: | ---: | ---: |")
    for name in names:
        start, median = STARTS[name], statistics.median(seconds[name])
        limit = "-" if start.limit is None else f"{start.limit:.1f}"
        print(f"| {name} | {start.waits_for} | {median:.2f} | {median / torch:.2f} | {limit} |")


def _take_turns(names: list[str], folder: Path, rounds: int) -> dict[str, list[float]]:
    environment = {**os.environ, "PYTHONPATH": str(TOOLS.parent), "MNV2DENSE_CACHE": str(folder / "cache")}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    _draw_pictures(folder / "pictures")
    for number in range(-1, rounds):  # the first round fills caches: of files, of bytecode, of drawn shapes
        for name in names:
            place = folder / f"{name}{number}"
            place.mkdir()
            (place / "pictures").symlink_to(folder / "pictures")
            taken = _wait(STARTS[name], place, environment)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def _wait(start: Start, place: Path, environment: dict[str, str]) -> float:
    """Seconds until what the command is waited for; it is ended then."""
    words = [sys.executable, *start.words]
    begun = time.perf_counter()
    with (place / "lines").open("wb") as lines:
        process = subprocess.Popen(words, cwd=place, env=environment, stdout=lines, stderr=subprocess.STDOUT)
    is_there: Callable[[], bool] = {
        "its end": lambda: False,
        "the first image": lambda: any((place / "out").glob("*.[jp][pn]g")),
        "the first line": lambda: (place / "lines").read_bytes().count(b"\n") >= 1,
        "the third line, before the first step": lambda: (place / "lines").read_bytes().count(b"\n") >= 3,
    }[start.waits_for]
    while process.poll() is None and not is_there():
        time.sleep(0.005)
    taken = time.perf_counter() - begun
    if process.poll() is not None and start.waits_for != "its end" and not is_there():
        raise SystemExit(f"{' '.join(start.words)} ended before {start.waits_for}:\n{(place / 'lines').read_text()}")
    process.kill()
    process.wait()
    return taken


def _draw_pictures(folder: Path) -> None:
    import numpy as np

    from mnv2dense.data.shapes.drawing import draw_image
    from mnv2dense.visualization.draw import save_image

    folder.mkdir()
    for number in range(4):
        save_image(draw_image(np.random.default_rng(number), 480)[0], folder / f"{number}.jpg")


if __name__ == "__main__":
    main()
