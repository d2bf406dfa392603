"""What a reader should know before trusting the scores of a run, and what would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnv2dense.protocols import BoxDataset
from mnv2dense.reporting.run_config import trained_config
from mnv2dense.utils.listed import listed

if TYPE_CHECKING:
    from mnv2dense.data.module import DataModule
    from mnv2dense.reporting.facts import ClassScore

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Name -> (epoch, value), as training logged it."""

_FEW_TO_LEARN_FROM = 1000
_FEW_TO_SCORE_ON = 200
_FEW_OF_A_CLASS = 20
_FEW_EPOCHS = 5
_SMALL_SIDE = 128
_HARDLY_WORKS = 0.1

# Of the score itself, from one validation to the next: less is the noise of a run that has settled.
_STILL_RISING = 0.02


def limits_of(
    config: Mapping[str, Any],
    datamodule: DataModule,
    *,
    size: tuple[int, int],
    scores: Mapping[str, float],
    score: str,
    counted: str,
    classes: Sequence[ClassScore],
    curves: Curves,
    drawn: bool,
    unfinished: str = "",
    statistics: str = "",
    falls: bool = False,
) -> list[str]:
    """Sentences, each read off the data, the curves or the scores; the gravest first.

    Args:
        config: of the run.
        datamodule: with training data where the run trained.
        size: (height, width) of the model's input, pixels.
        scores: of the metric.
        score: what classes are scored by.
        counted: the unit of the classes' counts.
        classes: with their scores and counts.
        curves: of the training; empty where it is not known.
        drawn: whether the images are the embedded shapes.
        unfinished: "12 of 60 epochs" of a training that did not come to its end.
        statistics: what is to be said of batch norms' running statistics.
        falls: whether less of ``score`` is better; which class is weak is then not said, as nobody knows its scale.
    """
    said = [] if falls else _of_all_classes(score, classes)
    if unfinished:
        said.append(
            f"Its training did not come to its end, {unfinished} were done: going on would help, with resume= of "
            "tools/train.py and the run's folder beside the run's own options."
        )
    if statistics:
        said.append(statistics)
    if drawn:
        said.append("The images are drawn shapes: the scores tell nothing about photographs.")
    if datamodule.train is not None:
        said += _of_training(config, datamodule, curves, drawn=drawn)
    images = len(datamodule.val or ())
    if images < _FEW_TO_SCORE_ON:
        said.append(
            f"It was scored on only {images:,} images: differences of a few hundredths may be chance; more "
            "validation images would tell."
        )
    if not drawn and min(size) < _SMALL_SIDE:
        said.append(
            f"It sees images at {size[0]} by {size[1]} pixels, where details are lost: a larger input would help, as "
            f"with model.size=[{2 * size[0]},{2 * size[1]}]."
        )
    said += _of_classes(score, counted, classes, falls=falls)
    # Where nothing works, small objects are no worse off than others.
    if scores.get("AP", 0) >= _HARDLY_WORKS and 0 <= scores.get("APs", -1) < scores["AP"] / 2:
        said.append(
            "It misses small objects (below 32 by 32 pixels) far more often than others: a larger input "
            f"(model.size=[{2 * size[0]},{2 * size[1]}]) would help, or tile= of tools/predict.py."
        )
    return said


def _of_training(config: Mapping[str, Any], datamodule: DataModule, curves: Curves, *, drawn: bool) -> list[str]:
    assert datamodule.train is not None
    said = []
    data = config.get("data") or {}
    if data and data.get("train") == data.get("val"):
        said.append(
            "It was scored on the images that it learnt from: the scores show memory, not skill; score it on others."
        )
    since = _since(config)
    if len(datamodule.train) < _FEW_TO_LEARN_FROM:
        began_with = config.get("init_from") or (config.get("backbone") or {}).get("weights")
        weights = (
            "" if began_with or drawn else ", and a backbone that has seen others (backbone.weights=, docs/weights.md)"
        )
        said.append(f"It learnt from only {len(datamodule.train):,} images{since}: more would help{weights}.")
    if isinstance(datamodule.train, BoxDataset):
        rare = [
            name
            for name, count in zip(datamodule.train.class_names, datamodule.train.box_counts, strict=True)
            if 0 < count < _FEW_OF_A_CLASS
        ]
        if rare:
            few = f"fewer than {_FEW_OF_A_CLASS} objects{since}"
            said.append(f"It learnt {listed(rare)} from {few}: more of them would help.")
    monitor = str(config.get("monitor"))
    epochs = max((points[-1][0] for points in curves.values() if points), default=0)
    if rising := _still_rising(monitor, str(config.get("monitor_mode")), curves):
        said.append(f"{rising}: longer training would help, as with trainer.max_epochs={2 * epochs}.")
    elif 0 < epochs <= _FEW_EPOCHS:
        said.append(
            f"It was trained for only {epochs} epoch{'s' if epochs > 1 else ''}: longer training would help, as with "
            f"trainer.max_epochs={10 * epochs}."
        )
    said.append(
        f"The checkpoint was chosen by {monitor} on the validation images, so its scores there flatter it a little."
    )
    return said


def _since(config: Mapping[str, Any]) -> str:
    """Which epochs learnt from these images: not those before a resume with others."""
    if not config.get("resume"):
        return ""
    try:
        before = trained_config(str(config["resume"])) or config
    except (FileNotFoundError, ValueError):  # it is gone, or nobody can read it
        return ""
    there, here = ((each.get("data") or {}).get("train") for each in (before, config))
    return "" if there == here else " since it was resumed with other data"


def _still_rising(monitor: str, mode: str, curves: Curves) -> str:
    """What the score did at the end, where its last value is its best, and by more than noise; else nothing."""
    values = [value for _, value in curves.get(f"val/{monitor}", ())][-3:]
    if len(values) < 2:
        return ""
    falls = mode == "min" or (mode != "max" and monitor == "loss")
    better, last = [-value if falls else value for value in values], values[-1]
    shown = [f"{value:.3f}" for value in values]
    risen = better[-1] - better[-2] > _STILL_RISING * abs(last) and shown[-1] != shown[-2]  # as far as digits are told
    if better[-1] < max(better) or not risen:
        return ""
    name = "The validation loss" if monitor == "loss" else monitor
    way, at_last = "falling" if falls else "rising", ", ".join(shown)
    return f"{name} was still {way} when training ended ({at_last} at the last validations)"


def _of_classes(score: str, counted: str, classes: Sequence[ClassScore], *, falls: bool) -> list[str]:
    said = []
    judged = [row for row in classes if row.value is not None]
    if absent := [row.name for row in classes if row.value is None]:
        said.append(
            f"The validation data do not show {listed(absent)}: how well it does there is unknown until images with "
            "them are added."
        )
    if counted in ("objects", "images") and (
        rare := [row.name for row in judged if row.count and row.count < _FEW_OF_A_CLASS]
    ):
        said.append(
            f"The validation data have fewer than {_FEW_OF_A_CLASS} {counted} of {listed(rare)}: more would make their "
            "scores sure."
        )
    if judged and not falls:
        mean = sum(row.value or 0 for row in judged) / len(judged)
        weak = sorted((row for row in judged if (row.value or 0) < mean / 2), key=lambda row: row.value or 0)
        if weak and mean >= _HARDLY_WORKS:
            said.append(
                f"It is weak on {listed([row.name for row in weak])}: {score} below half of the average; more images "
                "of them would help, or a look at their labels."
            )
    return said


def _of_all_classes(score: str, classes: Sequence[ClassScore]) -> list[str]:
    """The gravest that there is to say, where it is so."""
    values = [row.value for row in classes if row.value is not None]
    mean = sum(values) / len(values) if values else 1.0
    return [f"It hardly works: {score} of the classes is {mean:.3f} on average."] if mean < _HARDLY_WORKS else []
