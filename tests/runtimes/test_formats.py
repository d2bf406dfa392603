"""What a file's name tells of its format, and which files belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2dense.runtimes.formats import FORMATS, companions_of, files_of, format_of, is_exported


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.onnx", "onnx"),
        ("A.ONNX", "onnx"),
        ("a.xml", "openvino"),
        ("a.b.pte", "executorch"),
        ("a.onnx.json", None),
        ("A.ncnn.PARAM", "ncnn"),
        ("a.param", None),
        ("", None),
        (".onnx", None),
    ],
)
def test_a_suffix_of_any_letters_tells_the_format(name: str, expected: str | None) -> None:
    assert format_of(name) == expected
    assert is_exported(name) == (expected is not None)


def test_a_package_of_core_ml_is_known_but_does_not_run_here() -> None:
    assert format_of("a.mlpackage") == "coreml"
    assert not is_exported("a.mlpackage")


def test_no_two_formats_end_alike() -> None:
    assert len({known.suffix for known in FORMATS.values()}) == len(FORMATS)


def test_weights_take_the_suffixs_place_and_metadata_follows_it() -> None:
    assert companions_of("out/a.xml") == (Path("out/a.bin"),)
    assert companions_of("out/a.b.tflite") == (Path("out/a.b.tflite.json"),)
    assert companions_of("out/a.b.ncnn.param") == (Path("out/a.b.ncnn.bin"), Path("out/a.b.ncnn.param.json"))
    assert companions_of("out/a.onnx") == ()


def test_files_of_one_stem_do_not_share_what_lies_beside_them() -> None:
    each = [path for known in FORMATS.values() for path in files_of(f"out/a{known.suffix}")]
    assert len(set(each)) == len(each)


def test_a_file_is_not_charged_for_what_only_has_its_stem(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.xml", "a.bin", "a.tflite", "a.tflite.json"):
        (tmp_path / name).write_text("1")
    assert [path.name for path in files_of(tmp_path / "a.onnx")] == ["a.onnx"]
    assert [path.name for path in files_of(tmp_path / "a.xml")] == ["a.xml", "a.bin"]
    assert [path.name for path in files_of(tmp_path / "a.tflite")] == ["a.tflite", "a.tflite.json"]


def test_a_package_is_all_files_inside_it(tmp_path: Path) -> None:
    (tmp_path / "a.mlpackage" / "Data").mkdir(parents=True)
    for name in ("Manifest.json", "Data/weight.bin"):
        (tmp_path / "a.mlpackage" / name).write_text("1")
    assert [path.name for path in files_of(tmp_path / "a.mlpackage")] == ["weight.bin", "Manifest.json"]
