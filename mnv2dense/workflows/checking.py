"""An exported file checked by its exam, and, where that finds no cause, layer by layer beside its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mnv2dense.export.options import ExportOptions
from mnv2dense.export.writing import GraphWriter, divergence
from mnv2dense.models.checkpoint import load_model
from mnv2dense.runtimes.checking import check_file
from mnv2dense.runtimes.exam_answers import prepared
from mnv2dense.runtimes.exam_distances import distance, spread_of, values_at
from mnv2dense.runtimes.exam_report import ExamReport
from mnv2dense.runtimes.exported_model import ExportedModel

# Of the torch model's answers now and when the file was made: other versions of torch round otherwise.
_SAME_MODEL = 1e-2


def check_exported(
    path: str | Path,
    *,
    checkpoint: str | Path | None = None,
    packages: Sequence[str] = ("mnv2dense",),
    threads: int | None = None,
) -> ExamReport:
    """Run a file's exam; with its model, say from which layer on a file of it answers otherwise here.

    Args:
        path: of an exported file.
        checkpoint: of the model that it was made of; looked at only where the exam names no cause.
        packages: whose classes the checkpoint may name.
        threads: of the runtime.

    Raises:
        ValueError: as :func:`mnv2dense.check_file`; or the checkpoint is of another model.
        ImportError: what exports such files is not installed.
    """
    report = check_file(path, threads=threads)
    if checkpoint is None or report.equal or report.cause is not None or report.is_damaged:
        return report
    exported = ExportedModel(path, threads=threads)
    said, exam = exported.description, exported.exam
    assert exam is not None
    asked = ExportOptions(
        exporter=exported.runtime,
        precision=said.precision,
        size=said.size,
        target=said.extra.get("target", "per_channel"),
        threads=threads,
    )
    model = load_model(checkpoint, packages=packages)
    other = f"checkpoint={checkpoint}: of other classes or another size than {path}; name what it is of."
    if (model.task, model.class_names) != (said.task, said.class_names):
        raise ValueError(other)
    try:
        graph = asked.graph_of(model)
    except ValueError as error:  # a detector of another size
        raise ValueError(other) from error
    images = [prepared(picture.png, said.size, said.resize)[0] for picture in exam.pictures]
    if said.outputs == graph.outputs and not said.parts:
        with torch.no_grad():
            answers = [graph(image) for image in images]
        for number, name in enumerate(graph.output_names):
            if name not in exam.at:
                continue
            own = [picture.answers[name] for picture in exam.pictures]
            now = [values_at(each[number].numpy(), exam.at[name]) for each in answers]
            if distance(now, own, spread_of(own)) > _SAME_MODEL:
                raise ValueError(
                    f"checkpoint={checkpoint}: it answers otherwise than the model of {path} did; name that."
                )
    found = divergence(graph, GraphWriter(asked, images if asked.calibrates else None), images)
    return replace(report, layer=found.layer, looked_at_layers=True)
