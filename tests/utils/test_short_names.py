"""Paths as they stand in tables."""

from __future__ import annotations

from mnv2dense.utils.short_names import short_names


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["a/b/model.onnx", "a/c/shapes.xml", "torchvision:x"]) == [
        "model.onnx",
        "shapes.xml",
        "torchvision:x",
    ]
    assert short_names(["a/b/model.onnx", "a/c/model.onnx"]) == ["b/model.onnx", "c/model.onnx"]
    assert short_names(["a/model.onnx", "a/model.onnx"]) == ["model.onnx", "model.onnx"]
