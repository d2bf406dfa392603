"""Files whose blocks run in channel groups: what is asked, refused and said; with an exporter of torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import mnv2dense
from mnv2dense.export import ExportGraph, ExportOptions, RefusedExportError, export_model
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.split import SplitMobileNetV2
from mnv2dense.models.split_convolutions import StemInStrips
from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.runtimes.exported_model import ExportedModel
from tests.helpers import fake_exporter
from tests.helpers.small_models import SIZE, classifier, detector_on_v1
from tests.helpers.tiny import command, random_images

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_exporter.install(monkeypatch)


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return classifier()


@pytest.mark.parametrize("split", ["auto", 3])
def test_the_file_is_cut_and_compared_with_the_whole_model(model: DenseModel, split: int | str) -> None:
    report = mnv2dense.export_model(model, "model.fake", images=list(random_images(3, SIZE)), split=split)  # type: ignore[arg-type]  # auto or a number
    assert report.failures == []
    groups = ExportedModel("model.fake").description.extra["groups_of_blocks"]
    assert groups == report.plain()["extra"]["groups_of_blocks"]
    assert len(groups) == 6
    assert groups == [3] * 6 if split == 3 else max(groups) > 1


def test_whole_blocks_are_not_spoken_of(model: DenseModel) -> None:
    export_model(model, "model.fake", images=list(random_images(3, SIZE)))
    assert ExportedModel("model.fake").description.extra == {}


def test_a_cut_file_that_errs_is_refused_by_the_layer_of_the_cut_graph(
    model: DenseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = StemInStrips.forward
    monkeypatch.setattr(StemInStrips, "forward", lambda self, images: 2 * whole(self, images))
    with pytest.raises(RefusedExportError, match=r"diverges is|every layer agrees"):
        export_model(model, "model.fake", images=list(random_images(3, SIZE)), split=2)
    assert not Path("model.fake").exists()


@pytest.mark.parametrize("split", [0, 1, -2, 2.5, True, "most"])
def test_a_wrong_number_of_groups_is_refused(split: object) -> None:
    with pytest.raises(ValueError, match=f"split={split}: auto, or in how many groups"):
        ExportOptions(exporter="fake", split=split)  # type: ignore[arg-type]  # a slip on purpose


def test_what_split_does_not_go_with_is_refused(model: DenseModel) -> None:
    # The number need not divide the channels: groups are as even as can be, at most one for each channel.
    export_model(model, "model.fake", images=list(random_images(2, SIZE)), split=7)
    with pytest.raises(ValueError, match="split=2: MobileNetV1 cannot be cut into groups"):
        ExportOptions(exporter="fake", split=2).graph_of(detector_on_v1())
    with pytest.raises(ValueError, match=r"keep_float=backbone\.stem: the model has no such module"):
        ExportOptions(exporter="fake", split=2, precision="int8", keep_float=["backbone.stem"]).graph_of(model)
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="split=2 is laid out for one size"):
        ExportOptions(exporter="onnx", split=2, options={"dynamic_size": True})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["split=1"], "split=1: auto, or in how many groups"),
        (["split=2", "precision=int8", "sensitivity=true"], "sensitivity=true looks at whole blocks, and split=2 cuts"),
        (["split=auto", "precision=int8", "keep_float=auto:2"], "keep_float=auto:2 looks at whole blocks, and split="),
    ],
)
def test_the_command_says_so_in_a_line(arguments: list[str], expected: str) -> None:
    outcome = command("export", "checkpoint=nowhere", "exporter=fake", *arguments)
    assert outcome.code == 2
    assert expected in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_stem_in_strips_has_its_bias_corrected_once(model: DenseModel) -> None:
    """The stem runs four times an image. Its mean input is that of the strips, not their sum."""
    seen: list[Tensor] = list(random_images(3, SIZE)[:, None] // 4)  # dark, so that normalised means are far from 0
    graph = ExportGraph(model)
    whole, cut = bias_corrected(graph, seen), bias_corrected(graph.in_groups(4), seen)
    assert isinstance(cut.model.backbone, SplitMobileNetV2)
    ours = cut.model.get_submodule("backbone.blocks.0.stem.0").bias
    theirs = whole.model.get_submodule("backbone.stem.0").bias
    before = graph.model.get_submodule("backbone.stem.0").bias
    # Strips see what is padded, and rows that two of them share twice.
    assert (ours - theirs).abs().max() < 0.3 * (theirs - before).abs().max()  # type: ignore[operator, union-attr]  # tensors
    assert torch.isfinite(ours).all()  # type: ignore[arg-type]  # a tensor
