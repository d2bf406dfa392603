"""Several metrics of the same results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from mnv2dense.metrics.image_ranking import ImageScore, ScoresImages
from mnv2dense.metrics.watched import check_metric, score_names, watched
from mnv2dense.protocols import Dataset, Metric
from mnv2dense.types import Batch


@final
class MetricGroup:
    """Metrics side by side, each with all results; a :class:`mnv2dense.protocols.Metric`.

    The first chooses the best checkpoint, ranks images and counts classes, where ``monitor`` does not name another's
    score. What it writes lies in the run folder, what the others write in a folder of their name there.

    Args:
        parts: name -> metric, as in ``metric.parts.pixels``.
        prefixes: name -> what stands before each of its scores. Without one scores keep their names.

    Raises:
        ValueError: no metric, one that is none, a prefix for none of them, or two that call a score the same.
    """

    def __init__(self, *, parts: Mapping[str, Metric], prefixes: Mapping[str, str] | None = None) -> None:
        prefixes = prefixes or {}
        if not parts:
            raise ValueError("metric.parts is empty: name at least one metric.")
        for name in prefixes:
            if name not in parts:
                raise ValueError(f"metric.prefixes names {name!r}, but the metrics are {', '.join(parts)}.")
        for metric in parts.values():
            check_metric(metric)
        self.parts = dict(parts)
        self._prefixes = {name: str(prefixes.get(name, "")) for name in parts}
        of_parts = [(name, watched(metric)) for name, metric in parts.items() if metric.headlines]
        self.headlines = self._joined({name: metric.headlines for name, metric in parts.items()})
        self.monitor = self._named(of_parts[0][0], of_parts[0][1].monitor) if of_parts else None
        self.curves = tuple(self._named(name, score) for name, seen in of_parts for score in seen.curves)
        self.lower_is_better = tuple(
            self._named(name, score)
            for name, metric in parts.items()
            for score in getattr(metric, "lower_is_better", ())
        )

    @property
    def first(self) -> Metric:
        """The metric that leads."""
        return next(iter(self.parts.values()))

    @property
    def image_meaning(self) -> str:
        """What :meth:`image_score` is; empty where the first metric has none."""
        return str(getattr(self.first, "image_meaning", ""))

    def bind(self, dataset: Dataset) -> None:
        """Take the truth; each metric forgets its results."""
        for metric in self.parts.values():
            metric.bind(dataset)

    def reset(self) -> None:
        """Forget all results, keep the truth."""
        for metric in self.parts.values():
            metric.reset()

    def update(self, results: Sequence[Any], batch: Batch) -> None:
        """Give one batch's results to all of them."""
        for metric in self.parts.values():
            metric.update(results, batch)

    def score_names(self, dataset: Dataset) -> list[str]:
        """What :meth:`compute` can return."""
        names = {name: score_names(metric, dataset) for name, metric in self.parts.items()}
        return list(self._joined({name: dict.fromkeys(scores) for name, scores in names.items()}))

    def compute(self) -> dict[str, float]:
        """The scores of all; a collective call.

        Raises:
            ValueError: two metrics call a score the same.
        """
        return self._joined({name: metric.compute() for name, metric in self.parts.items()})

    def image_score(self, image_id: int) -> ImageScore | None:
        """Of the first metric; None where it has none."""
        return self.first.image_score(image_id) if isinstance(self.first, ScoresImages) else None

    def write(self, folder: Path) -> None:
        """The first metric's files into the folder, those of others into folders of their names."""
        for number, (name, metric) in enumerate(self.parts.items()):
            own = folder / name if number else folder
            own.mkdir(parents=True, exist_ok=True)
            metric.write(own)

    def _named(self, part: str, score: str) -> str:
        return score if score == "loss" else self._prefixes[part] + score

    def _joined(self, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        joined: dict[str, Any] = {}
        owner: dict[str, str] = {}
        for part, scores in found.items():
            for score, value in scores.items():
                name = self._prefixes[part] + score  # also of one called loss, which else is the run's own
                if name in owner:
                    raise ValueError(
                        f"metric.parts.{owner[name]} and metric.parts.{part} both have a score called {name}; "
                        f"give one of them a prefix, as in metric.prefixes.{part}={part}_."
                    )
                joined[name], owner[name] = value, part
        return joined
