"""What there is to say of a run that was scored: the facts that its model card and its report have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from mnv2dense.costs.complexity import complexity
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.module import DataModule
from mnv2dense.data.shapes import ShapeCrops, ShapeMasks, Shapes
from mnv2dense.data.split_checks import parts_of
from mnv2dense.metrics.accuracy import Accuracy
from mnv2dense.metrics.image_ranking import ImageRanking
from mnv2dense.metrics.joint import JointMetric
from mnv2dense.metrics.mean_iou import MeanIoU
from mnv2dense.metrics.metric_group import MetricGroup
from mnv2dense.metrics.of_boxes import PromisedThresholds, box_metrics
from mnv2dense.metrics.threshold_curves import BestThreshold
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.pretrained.checkpoint_file import find_checkpoint
from mnv2dense.pretrained.named import license_of
from mnv2dense.protocols import BoxDataset, Dataset, Metric, Model
from mnv2dense.reporting.data_name import data_name
from mnv2dense.reporting.limits import Curves, limits_of
from mnv2dense.reporting.run_config import trained_config
from mnv2dense.reporting.threshold_facts import ThresholdFacts, threshold_facts
from mnv2dense.reporting.unfinished import epochs_done
from mnv2dense.reporting.usage import Usage, shown_command, usage_of
from mnv2dense.runtimes.formats import megabytes_of
from mnv2dense.training.batch_statistics import slow_statistics

# Images that the package draws itself.
_DRAWN = (Shapes, ShapeCrops, ShapeMasks)


@dataclass(frozen=True)
class Score:
    """One number that the run was scored by.

    Attributes:
        name: the metric's own.
        value: 0..1; None where the data cannot tell.
        meaning: in a few words.
    """

    name: str
    value: float | None
    meaning: str


@dataclass(frozen=True)
class ClassScore:
    """How one class does.

    Attributes:
        name: of the class.
        value: 0..1; None where the validation data do not show it.
        count: how much of it these have, in :attr:`RunFacts.counted`; None where that is not known.
    """

    name: str
    value: float | None
    count: int | None


@dataclass(frozen=True)
class RunFacts:
    """See the module; plain values, ready to be shown.

    Attributes:
        task: "detection", "segmentation", "classification" or "joint".
        trained: whether the run trained the model, or only scored it.
        checkpoint: what commands load: the run folder, or what an evaluation was given.
        name: of the model, in a few words.
        size: (height, width) of its input, pixels.
        class_names: what it tells apart.
        data: rows (what, value).
        data_name: of the data that was scored on.
        trained_on: of the data that the run learnt from; empty where it only scored.
        unfinished: how far the training of what was scored is, where it has not come to its end: "12 of 60 epochs".
        best_threshold: of a detector's scores; None where nothing is right, and of others.
        thresholds: of each head for boxes.
        drawn_data: whether its images are the embedded shapes.
        scores: the metric's headlines, in its order.
        score_of_classes: what :attr:`classes` are scored by; empty where the metric does not say.
        counted: the unit of the classes' counts.
        classes: every class, in label order; empty where the metric does not tell.
        image_meaning: what the scores of single images are; empty where the metric cannot tell.
        costs: rows (what, value).
        usage: commands that use this model.
        command: what made the run.
        environment: rows (what, value).
        limits: sentences.
        license: of the weights, as the hub spells it; "unknown" where it does not follow from what is known.
        began_with: the weights that training began with, and their licence where it is known; empty where with none.
    """

    task: str
    trained: bool
    checkpoint: str
    name: str
    size: tuple[int, int]
    class_names: tuple[str, ...]
    data: tuple[tuple[str, str], ...]
    data_name: str
    drawn_data: bool
    scores: tuple[Score, ...]
    score_of_classes: str
    counted: str
    classes: tuple[ClassScore, ...]
    image_meaning: str
    costs: tuple[tuple[str, str], ...]
    usage: Usage
    command: str
    environment: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    license: str
    began_with: str = ""
    trained_on: str = ""
    unfinished: str = ""
    best_threshold: BestThreshold | None = None
    thresholds: tuple[ThresholdFacts, ...] = ()


def facts_of(
    folder: Path,
    *,
    model: Model,
    datamodule: DataModule,
    metric: Metric,
    scores: Mapping[str, float],
    ranking: ImageRanking,
    curves: Curves | None = None,
    anchor_bounds: Mapping[str, float] | None = None,
    promised: Mapping[str, PromisedThresholds] | None = None,
    keeps_thresholds: bool = False,
) -> RunFacts:
    """Gather them, from a run folder that has config.yaml and environment.json, and from what was just scored.

    Args:
        folder: of the run.
        model: what was scored.
        datamodule: what it was scored on; with training data where the run trained.
        metric: after :meth:`mnv2dense.protocols.Metric.compute`.
        scores: what that gave.
        ranking: of the images that were scored.
        curves: of the training, where it is known.
        anchor_bounds: head -> the highest recall that its anchors allow at IoU 0.5; "" is the only head.
        promised: thresholds that were promised, by the names of heads for boxes.
        keeps_thresholds: whether the model's file keeps those that were chosen.
    """
    assert datamodule.val is not None
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    checkpoint = str(config.get("checkpoint") or folder)
    source = (config.get("data") or {}).get("val") or {}
    drawn = all(isinstance(part, _DRAWN) for part in parts_of(datamodule.val).values())
    score_of_classes, counted, classes = _classes(metric, scores, datamodule.val)
    began_with = config.get("init_from") or (config.get("backbone") or {}).get("weights")
    trained = "trainer" in config
    done = None if trained else epochs_done(checkpoint)
    unfinished = "" if done is None else f"{done[0]} of {done[1]} epochs"
    return RunFacts(
        task=model.task,
        trained=trained,
        checkpoint=checkpoint,
        name=model.name,
        size=model.size,
        class_names=model.class_names,
        data=(*_data_rows(source, datamodule), *_bound_rows(anchor_bounds or {})),
        data_name=data_name(source, type(datamodule.val)),
        trained_on=_trained_on(config, datamodule),
        drawn_data=drawn,
        scores=tuple(
            Score(name, None if scores[name] < 0 else scores[name], meaning)
            for name, meaning in metric.headlines.items()
            if name in scores
        ),
        score_of_classes=score_of_classes,
        counted=counted,
        classes=classes,
        image_meaning=str(getattr(metric, "image_meaning", "")) if ranking.seen else "",
        costs=tuple(_cost_rows(model, checkpoint)),
        usage=usage_of(config, environment, checkpoint, model.task, _first_image(datamodule.val)),
        command=shown_command(environment["command"]),
        environment=tuple(_environment_rows(environment)),
        limits=tuple(
            limits_of(
                config,
                datamodule,
                size=model.size,
                scores=scores,
                score=score_of_classes,
                counted=counted,
                classes=classes,
                curves=curves or {},
                drawn=drawn,
                unfinished=unfinished,
                statistics=_statistics(config, model) if trained else "",
                falls=score_of_classes in getattr(metric, "lower_is_better", ()),
            )
        ),
        license=_license(config, checkpoint, began_with, drawn=drawn),
        began_with=_with_license(began_with) if trained and began_with else "",
        unfinished=unfinished,
        best_threshold=_best_threshold(metric),
        thresholds=threshold_facts(metric, promised=promised, kept=keeps_thresholds),
    )


def _statistics(config: Mapping[str, Any], model: Model) -> str:
    """What is to be said of running statistics; nothing where norms may have been held on purpose."""
    callbacks = config.get("callbacks") or {}
    frozen = any(str((callback or {}).get("_target_", "")).endswith("Freeze") for callback in callbacks.values())
    if frozen or not isinstance(model, DenseModel):
        return ""
    # Each norm counts what it measured: of one process, resumed or not, and up to this checkpoint.
    counts = (norm.num_batches_tracked for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))
    return slow_statistics(model, max((int(count) for count in counts if count is not None), default=0))


def _license(config: Mapping[str, Any], checkpoint: str, began_with: str | None, *, drawn: bool) -> str:
    """What its maker said; else published weights keep theirs, where they are scored or learn from drawn shapes."""
    trained = "trainer" in config
    if said := (config if trained else trained_config(checkpoint) or {}).get("license"):
        return str(said)
    if not trained:
        return license_of(checkpoint) or "unknown"
    if not drawn:
        return "unknown"  # nobody here knows the data's
    return (license_of(began_with) or "unknown") if began_with else "apache-2.0"


def _with_license(weights: str) -> str:
    known = license_of(weights)
    return f"{weights} ({known})" if known else str(weights)


def _first_image(dataset: Dataset) -> str:
    return str(dataset.path_of(dataset[0].image_id))


def _trained_on(config: Mapping[str, Any], datamodule: DataModule) -> str:
    if datamodule.train is None:
        return ""
    return data_name((config.get("data") or {}).get("train") or {}, type(datamodule.train))


def _data_rows(source: Mapping[str, Any], datamodule: DataModule) -> list[tuple[str, str]]:
    rows = [("source", str(source.get("_target_", type(datamodule.val).__name__)))]
    rows += [(key, str(source[key])) for key in ("root", "year", "split", "limit") if source.get(key) is not None]
    return rows + [(key.replace("_", " "), f"{count:,}") for key, count in datamodule.describe().items()]


def _bound_rows(anchor_bounds: Mapping[str, float]) -> list[tuple[str, str]]:
    rest = "of the boxes in up to 500 val images can have an anchor of their own at IoU 0.5: no recall gets far past it"
    return [
        (f"anchor bound{name and f' of {name}'}", f"{100 * bound:.1f}% {rest}") for name, bound in anchor_bounds.items()
    ]


def _best_threshold(metric: Metric) -> BestThreshold | None:
    found = next(iter(box_metrics(metric).values()), None)
    return None if found is None else found.threshold_curves().best()


def _cost_rows(model: Model, checkpoint: str) -> list[tuple[str, str]]:
    if not isinstance(model, nn.Module):  # nobody can count inside a file
        return [("file", f"{megabytes_of(model.files):.1f} MB")]
    costs = complexity(model, model.size)
    rows = [
        ("parameters", f"{costs.parameters:,}"),
        ("multiply-adds of an image", f"{costs.multiply_adds / 1e6:,.0f} million ({costs.gflops:.2f} GFLOPs)"),
        ("activations at most", f"{costs.peak_activation_bytes / 1e6:.1f} MB"),
        ("weights as float32", f"{4 * costs.parameters / 1e6:.1f} MB"),
    ]
    try:
        size = find_checkpoint(checkpoint).stat().st_size
    except FileNotFoundError:  # a model by name
        return rows
    return [*rows, ("checkpoint, with what resuming needs", f"{size / 1e6:.1f} MB")]


def _classes(metric: Metric, scores: Mapping[str, float], dataset: Dataset) -> tuple[str, str, tuple[ClassScore, ...]]:
    """What classes are scored by, what is counted of them, and every one of them."""
    if isinstance(metric, JointMetric) and isinstance(dataset, JointDataset):
        return _classes_of_parts(metric, scores, dataset)
    if isinstance(metric, MetricGroup):
        metric = metric.first
    names = tuple(dataset.class_names)
    prefix = next((key.partition("/")[0] for key in scores if "/" in key), "")
    if not prefix:
        return "", "", ()
    counted = ""
    counts: list[int | None] = [None] * len(names)
    if isinstance(metric, Accuracy | MeanIoU):
        counted = "images" if isinstance(metric, Accuracy) else "pixels"
        counts = metric.confusion().sum(1).tolist()
    elif isinstance(dataset, BoxDataset):
        counted = "objects"
        counts = list(dataset.box_counts)
    values = (scores.get(f"{prefix}/{name}") for name in names)
    told = (None if value is not None and value < 0 else value for value in values)  # -1 is "cannot tell"
    rows = zip(names, told, counts, strict=True)
    return prefix, counted, tuple(ClassScore(*row) for row in rows)


def _classes_of_parts(
    metric: JointMetric, scores: Mapping[str, float], dataset: JointDataset
) -> tuple[str, str, tuple[ClassScore, ...]]:
    """The same of several heads, one after the other; what is counted of each is another thing, and is left out."""
    kinds, rows = [], []
    for name, part in metric.parts.items():
        own = {key.partition("/")[2]: value for key, value in scores.items() if key.partition("/")[0] == name}
        kind, _, classes = _classes(part, own, dataset.parts[name])
        kinds.append(kind)
        rows += [ClassScore(f"{name}/{each.name}", each.value, None) for each in classes]
    return " or ".join(dict.fromkeys(filter(None, kinds))), "", tuple(rows)


def _environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    git, devices = environment.get("git"), environment.get("cuda_devices") or []
    packages = environment.get("packages") or {}
    rows = [
        ("begun", environment.get("started")),
        ("seed", environment.get("seed")),
        ("git revision", git and git["commit"] + (" with local changes" if git["changed"] else "")),
        ("Python", environment.get("python")),
        *((name, packages.get(name)) for name in ("mnv2dense", "torch", "torchvision", "pytorch-lightning")),
        ("machine", f"{environment.get('platform')}, {environment.get('cpus')} cores"),
        ("GPUs", ", ".join(devices) or None),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]
