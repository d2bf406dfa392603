"""A model scored into a run folder: the end of a training, and all of an evaluation."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from mnv2dense.evaluation.anchor_bound import anchor_bounds
from mnv2dense.evaluation.explain import explain
from mnv2dense.evaluation.samples import draw_images, masks_of, report
from mnv2dense.evaluation.score import score
from mnv2dense.inference.predictor import Predictor
from mnv2dense.metrics.image_ranking import ImageRanking, RankedImage
from mnv2dense.reporting.facts import facts_of
from mnv2dense.reporting.report import write_report
from mnv2dense.types import SHOWN_SCORE
from mnv2dense.types.thresholds import AUTO
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.utils.signals import OneInterrupt
from mnv2dense.visualization.palettes import PaletteChoice, legend_of
from mnv2dense.visualization.results import masks_together
from mnv2dense.workflows.choosing import Chosen, choose, write_promises

if TYPE_CHECKING:
    from mnv2dense.data.module import DataModule
    from mnv2dense.inference.tta import TTA
    from mnv2dense.metrics.missed_promise import Promise
    from mnv2dense.protocols import Dataset, Metric, Model
    from mnv2dense.reporting.run_folder import RunFolder
    from mnv2dense.visualization.draw import Color, Pixels

log = logging.getLogger(__name__)


def score_and_report(
    folder: RunFolder,
    model: Model,
    data: DataModule,
    metric: Metric,
    *,
    test_time: TTA | None = None,
    progress: Callable[[int, int], None] | None = None,
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    palette: PaletteChoice = "auto",
    threshold: float | Literal["auto"] = SHOWN_SCORE,
    promise: Promise | None = None,
    keep_in: str | Path | None = None,
) -> tuple[dict[str, float], Chosen]:
    """Score, and write metrics.json, plots, samples, report and model card; a collective call.

    Args:
        folder: is written to, by the first process alone; has its config.yaml and environment.json.
        model: in eval mode, or an exported file.
        data: set up.
        metric: bound to the data here.
        test_time: how a segmentation model looks at images; None looks as it was trained to.
        progress: told (done, in all) after each batch.
        curves: name -> (epoch, value) of the training, where it is known; the report says what they tell.
        palette: of drawn masks, see :data:`mnv2dense.visualization.palettes.PaletteChoice`.
        threshold: lowest score of the boxes that are drawn; "auto" goes by the thresholds that the model keeps, which
            are those that are chosen here where ``keep_in`` is given.
        promise: see :func:`mnv2dense.workflows.choosing.choose`.
        keep_in: likewise.

    Returns:
        The scores, the same on all processes, and the thresholds that were chosen.

    Raises:
        ValueError: what :func:`mnv2dense.evaluation.score.score` finds wrong.
    """
    if isinstance(model, nn.Module):
        model = model.to(memory_format=torch.channels_last)
    ranking, places = ImageRanking(), dict[int, int]()
    if is_first_process():
        log.info("scoring %s images on %s", f"{len(data.val or ()):,}", model.device)
    scores = score(
        model, data, metric, test_time=test_time, ranking=ranking, places=places, advance=counted(progress, data)
    )
    chosen = choose(metric, model, promise=promise, keep_in=keep_in)
    if is_first_process():
        assert data.val is not None
        if threshold == AUTO and not model.thresholds:
            threshold = SHOWN_SCORE  # none could be chosen
        # Boxes below a number are left out where results are drawn.
        own: Literal["auto"] | None = AUTO if threshold == AUTO else None
        predictor = Predictor(model, threshold=own, device=model.device, test_time=test_time)
        drawn = partial(_drawn, predictor, data.val, threshold=threshold, palette=palette)
        report(
            folder,
            predictor=predictor,
            dataset=data.val,
            metric=metric,
            scores=scores,
            threshold=threshold,
            palette=palette,
        )
        write_promises(folder.path, chosen.promised)
        facts = facts_of(
            folder.path,
            model=model,
            datamodule=data,
            metric=metric,
            scores=scores,
            ranking=ranking,
            curves=curves,
            anchor_bounds=anchor_bounds(model, data.val),
            promised=chosen.promised,
            keeps_thresholds=chosen.kept_in is not None and not chosen.not_kept,
        )
        shown: set[int] = set()
        worst, best = (list(drawn(images, shown)) for images in (ranking.worst, ranking.best))
        legend = legend_of_model(model, shown, palette)
        errors = explain(
            folder.path, predictor=predictor, dataset=data.val, metric=metric, places=places, palette=palette
        )
        write_report(folder.path, facts, worst=worst, best=best, legend=legend, errors=errors)
    return scores, chosen


def legend_of_model(model: Model, shown: set[int], palette: PaletteChoice) -> list[tuple[str, Color]]:
    """Names and colours of the classes that masks show; none of a model without masks."""
    masks = masks_of(model)
    if not masks:
        return []
    together, palette = masks_together(masks, palette=palette)
    return legend_of(together, shown, palette=palette)


@contextmanager
def stopped_in_words(folder: Path) -> Iterator[None]:
    """Ctrl-C, SIGTERM or SIGUSR1 while a trained run gets its scores: said with what is there; exit code 130, 143, 138.

    Args:
        folder: of the run.

    Raises:
        SystemExit: one came.
    """
    with OneInterrupt(warned=True) as interrupt:
        try:
            with interrupt.work():
                yield
        except KeyboardInterrupt:
            received = interrupt.received or signal.SIGINT
            if is_first_process():
                log.warning(
                    "Stopped by %s in the scoring: training is done, and resume=%s with the same length scores and "
                    "reports it.",
                    received.name,
                    folder,
                )
            raise SystemExit(128 + received) from None


def counted(progress: Callable[[int, int], None] | None, data: DataModule) -> Callable[[int], None]:
    """What takes the number of images done after each batch, and tells ``progress`` (done, in all)."""
    done, total = 0, len(data.val or ())

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    return advance


def _drawn(
    predictor: Predictor[Any],
    dataset: Dataset,
    images: Sequence[RankedImage],
    shown: set[int],
    *,
    threshold: float | Literal["auto"],
    palette: PaletteChoice,
) -> Iterator[tuple[str, float, Pixels]]:
    """Name, score and drawing of each; adds the classes of masks to ``shown``."""
    places = [image.place for image in images]
    drawn = draw_images(predictor, dataset, places, threshold=threshold, palette=palette)
    for image, (path, panels, classes) in zip(images, drawn, strict=True):
        shown |= classes
        yield path.name, image.score.value, panels
