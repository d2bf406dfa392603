"""A table of times that were not measured but made of known prices, so that what is predicted by them is known too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnv2dense.budget.networks import Network
from mnv2dense.budget.prediction import PRICES, quantities, weights_megabytes
from mnv2dense.budget.table import Seen, Setting, Table, design
from mnv2dense.runtimes.metadata import Precision

MILLISECONDS = np.array([0.2, 0.005, 5e-8, 2e-8, 1e-8, 2e-8, 1e-8, 1e-7, 2e-7, 3e-7])
"""Of each price at fp32; int8 takes half."""

SUPPRESSION = 2.0
"""Milliseconds of suppressing boxes, however many."""

BESIDE_WEIGHTS = 0.1
"""Megabytes of a file."""

OF_SUPPRESSION = 0.4
"""Megabytes more of one that suppresses boxes."""


def made_up(network: Network) -> float:
    """Milliseconds of a network, by these prices."""
    assert len(PRICES) == len(MILLISECONDS)
    factor = 0.5 if network.precision == "int8" else 1.0
    return float(quantities(network) @ MILLISECONDS) * factor + (SUPPRESSION if suppresses(network) else 0)


def made_up_megabytes(network: Network) -> float:
    """Of its file, by these."""
    return weights_megabytes(network) + BESIDE_WEIGHTS + (OF_SUPPRESSION if suppresses(network) else 0)


def suppresses(network: Network) -> bool:
    """Whether its file does."""
    return network.decides and network.task == "detection"


def made_up_table(task: str, *, runtime: str = "openvino", precisions: Sequence[Precision] = ("int8", "fp32")) -> Table:
    """With all networks that a task needs, of this machine, so that nothing is left to be measured."""
    table = Table(Setting.here(runtime, threads=1))
    for network in design(task, precisions, runtime=runtime):
        table.seen[network] = Seen(made_up(network) / 4, 4.0, made_up_megabytes(network))
    return table
