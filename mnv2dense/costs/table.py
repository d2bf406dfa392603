"""What a model costs, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.table import Table

from mnv2dense.costs.complexity import Complexity, Layer


def cost_table(costs: Complexity, *, title: str, depth: int = 3) -> Table:
    """One row for each layer, or for each group of layers that run one after the other.

    Args:
        costs: what :func:`mnv2dense.costs.complexity` gave.
        title: stands above.
        depth: layers whose names agree in this many parts are one row; at 3 that is a block.

    Raises:
        ValueError: a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"depth={depth}: the parts of a layer's name that a row goes by, 1 or more; 3 shows blocks.")
    # So that a detector's longest names fit into 80 columns.
    table = Table(title=title, caption=_totals(costs), box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    table.title_justify = table.caption_justify = "left"
    table.add_column("layer", no_wrap=True)
    for heading in ("gives", "parameters", "multiply-\nadds (M)", "kB", "kB alive\nat most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, layers in groupby(costs.layers, key=lambda layer: ".".join(layer.name.split(".")[:depth])):
        table.add_row(name, *_row(list(layers)))
    outside = costs.multiply_adds - sum(layer.multiply_adds for layer in costs.layers)
    if outside:
        table.add_row("between layers", "", "", f"{outside / 1e6:.2f}", "", "")
    table.add_section()
    peak = f"{costs.peak_activation_bytes / 1e3:,.1f}"
    table.add_row("in all", "", f"{costs.parameters:,}", f"{costs.multiply_adds / 1e6:,.2f}", "", peak)
    return table


def _row(layers: Sequence[Layer]) -> list[str]:
    last = layers[-1]
    return [
        "x".join(map(str, last.shape[1:])),
        f"{sum(layer.parameters for layer in layers):,}",
        f"{sum(layer.multiply_adds for layer in layers) / 1e6:,.2f}",
        f"{last.output_bytes / 1e3:,.1f}",
        f"{max(layer.peak_activation_bytes for layer in layers) / 1e3:,.1f}",
    ]


def _totals(costs: Complexity) -> str:
    bare = costs.parameters - costs.norm_parameters
    return (
        f"{costs.parameters:,} parameters, {bare:,} without folded batch norms'; {costs.multiply_adds / 1e9:.3f}B "
        f"multiply-adds, {costs.gflops:.2f} GFLOPs where multiplying and adding count as two. One image runs with "
        "batch norms folded; alive are activations: neither the weights nor the image itself are counted."
    )
