"""What a file of several heads gives and says of itself, before any runtime writes it."""

from __future__ import annotations

import pytest

from mnv2dense.export.graph import ExportGraph
from mnv2dense.export.options import ExportOptions
from mnv2dense.runtimes.metadata import Metadata
from tests.helpers.joint import SIZE, joint_model
from tests.helpers.tiny import random_images


@pytest.mark.needs("onnxscript", "coremltools")
def test_each_task_is_decided_where_it_is_asked_for() -> None:
    model = joint_model()
    graph = ExportOptions(exporter="onnx", labels=True).graph_of(model)
    assert graph.parts == {"boxes": "boxes", "masks": "labels"}
    assert graph.output_names == ("boxes_boxes", "boxes_scores", "masks_labels")
    chosen = ExportGraph(model, decided=["detection"], selection={"limit": 7})
    assert chosen(random_images(1, SIZE))[0].shape == (1, 7, 4)
    assert chosen.describe("fp32").selection["parts"]["boxes"]["limit"] == 7
    assert model.head.parts["boxes"].selection.limit == 100  # type: ignore[index, union-attr]
    for options, complaint in (
        ({"nms": "node"}, "this model has several heads; take nms=true"),
        ({"size": (64, 64)}, "anchors are laid for"),
    ):
        with pytest.raises((ValueError, ImportError), match=complaint):
            ExportOptions(**{"exporter": "onnx", **options}).graph_of(model)  # type: ignore[arg-type]


def test_what_a_file_says_of_its_heads_is_read_back_and_checked() -> None:
    said = ExportGraph(joint_model()).describe("fp32")
    back = Metadata.from_json(said.to_json())
    assert back == said
    assert back.make_selection().config == said.selection
    for old, new, complaint in (
        ('"masks":"logits"', '"masks":"boxes"', "parts"),
        ('"masks":"logits"', '"roads":"logits"', "parts of other heads"),
        ('"nms_threshold":0.6', '"nms_threshold":6', "nms_threshold=6, which cannot be"),
        ('"task":"segmentation"', '"task":"drawing"', "incomplete or off"),
    ):
        assert old in said.to_json()
        with pytest.raises(ValueError, match=complaint):
            Metadata.from_json(said.to_json().replace(old, new))
