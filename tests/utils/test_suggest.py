"""What somebody may have meant."""

from __future__ import annotations

from mnv2dense.utils.suggest import did_you_mean, near


def test_the_nearest_come_first_as_they_are_written() -> None:
    assert near("backbone.stm", ["head", "backbone.stem.0", "backbone.stem"], count=2) == [
        "backbone.stem",
        "backbone.stem.0",
    ]
    assert near("ap_50", ["loss", "AP", "AP50"]) == ["AP50"]


def test_a_message_ends_in_a_question_or_in_a_full_stop() -> None:
    assert did_you_mean("onyx", ["onnx", "litert"], before="exporter=") == "; did you mean exporter=onnx?"
    assert did_you_mean("tensorrt", ["onnx", "coreml"]) == "."
