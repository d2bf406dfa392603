"""Peak memory and latency of inference in channel groups (paper section 5.1), beside the paper's bound.

    python benchmarks/split_inference.py --threads 1 2

Activations are followed from making to release (mnv2dense.costs.activation_memory); beside that stands what torch's
own allocator gave out at most, workspaces of kernels included, weights and the uint8 image not. Runs take turns, so
that a busy machine slows all of them alike, and a latency is the first decile, as other work only ever adds. With
``--device cuda`` both precisions are timed; on a CPU float16 is not, as few have instructions for it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mnv2dense.costs.complexity import complexity
from mnv2dense.inference.predictor import Predictor
from mnv2dense.models.architectures import mobilenet_v2_classifier
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.split import memory_bound, split_inference


def main() -> None:
    """Measure and print a table in markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--groups", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6, 12, 24])
    parser.add_argument("--slack", type=float, nargs="*", default=[0.25, 0.5, 1.0], help="of t=auto, each a row")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)

    size = (arguments.size, arguments.size)
    model = mobilenet_v2_classifier(width_mult=arguments.width, size=size).eval()
    image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, device=arguments.device)
    variants = {"plain": model}
    variants |= {f"t={t}": split_inference(model, t) for t in arguments.groups}
    variants |= {f"auto, slack {slack}": split_inference(model, slack=slack) for slack in arguments.slack}
    columns: dict[str, dict[str, str]] = {}
    for dtype in (torch.float32, torch.float16):
        short = str(dtype).removeprefix("torch.")
        bound = memory_bound(model, dtype=dtype)
        peaks = {
            name: complexity(variant, size, dtype=dtype).peak_activation_bytes for name, variant in variants.items()
        }
        columns[f"{short} kB"] = {name: f"{peak / 1e3:,.0f}" for name, peak in peaks.items()} | {
            "": f"{bound / 1e3:,.0f}"
        }
        columns["x bound" + " " * (dtype == torch.float16)] = {
            name: f"{peak / bound:.2f}" for name, peak in peaks.items()
        }
        # As a Predictor holds it: folded, NHWC.
        predictors = {name: Predictor(v, device=arguments.device) for name, v in variants.items()}
        ready = {name: cast(DenseModel, predictor.model).to(dtype) for name, predictor in predictors.items()}
        if dtype == torch.float16 and arguments.device == "cpu":
            continue
        columns[f"{short} allocator kB"] = {name: f"{_allocated(run, image) / 1e3:,.0f}" for name, run in ready.items()}
        for threads in arguments.threads if arguments.device == "cpu" else [0]:
            torch.set_num_threads(threads or torch.get_num_threads())
            heading = f"{short} ms, {threads} thread{'s' * (threads > 1)}" if threads else f"{short} ms"
            deciles = _take_turns(ready, image, arguments.rounds)
            columns[heading] = {name: f"{1000 * seconds:.1f}" for name, seconds in deciles.items()}
    device = torch.cuda.get_device_name() if arguments.device != "cpu" else "CPU"
    print(f"torch {torch.__version__}, {device}, width {arguments.width}, {size[0]}x{size[1]}, batch 1, "
          f"first decile of {arguments.rounds} runs taken in turns\n")  # fmt: skip
    _print([*variants, ""], columns)


def _allocated(model: DenseModel, image: Tensor) -> int:
    """The most that torch's allocator had given out at once, beyond what was there before."""
    with torch.inference_mode():
        model(image)  # whatever is allocated once and for all
        if image.is_cuda:
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            model(image)
            return torch.cuda.max_memory_allocated() - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            model(image)
    # The profiler's public tables have sums for each operation; the events have the order as well.
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: int(event.start_ns())):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _take_turns(models: dict[str, DenseModel], image: Tensor, rounds: int) -> dict[str, float]:
    """Seconds that a tenth of the runs of each stay below, three rounds of warm-up left out."""
    synchronize: Callable[[], None] = torch.cuda.synchronize if image.is_cuda else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(rounds + 3):
            for name, model in models.items():
                synchronize()
                began = time.perf_counter()
                model(image)
                synchronize()
                if turn >= 3:
                    seconds[name].append(time.perf_counter() - began)
    return {name: statistics.quantiles(values, n=10)[0] for name, values in seconds.items()}


def _print(rows: list[str], columns: dict[str, dict[str, str]]) -> None:
    print("| inference | " + " | ".join(heading.strip() for heading in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for row in rows:
        print(f"| {row or 'the bound'} | " + " | ".join(cells.get(row, "") for cells in columns.values()) + " |")


if __name__ == "__main__":
    main()
