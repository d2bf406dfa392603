"""What the logits of a model's scores are divided by, so that scores say how often they are right."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from typing import Any

from mnv2dense.utils.numbers import is_number


def kept_temperatures(temperatures: Mapping[str, float]) -> float | dict[str, float]:
    """As a model's config and an exported file keep them: that of an only head, or a table of several heads'.

    Args:
        temperatures: name of the head -> its own; "" is an only head.
    """
    return temperatures[""] if "" in temperatures else dict(temperatures)


def read_temperatures(config: Any, heads: Collection[str]) -> dict[str, float]:  # noqa: ANN401 - of a file
    """The inverse of :func:`kept_temperatures`; of a file that keeps none, none.

    Args:
        config: what a file has, which may come from anybody.
        heads: the names of those that give scores; "" is an only head.

    Raises:
        ValueError: it is something else, or of other heads.
    """
    if not config and not is_number(config):
        return {}
    given = {"": config} if "" in heads else config
    if not isinstance(given, Mapping) or not set(given) <= set(heads):
        said = ", ".join(filter(None, heads)) or ("its only one" if heads else "it has none")
        raise ValueError(f"temperatures={config!r:.60}: they are of the model's heads with scores ({said}).")
    for name, value in given.items():
        if not is_number(value) or not 0 < value < inf:
            raise ValueError(f"temperatures: {f'{name}=' if name else ''}{value!r:.60} is no number above 0.")
    return {str(name): float(value) for name, value in given.items()}
