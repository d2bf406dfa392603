from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

import mnv2dense
from mnv2dense.data.datasets import VocDetection
from mnv2dense.data.datasets.image_list import unreadable_images
from mnv2dense.export.formats import onnx
from mnv2dense.io.reading import read_image
from mnv2dense.utils.old_modules import MODULES, OldModules


@pytest.mark.filterwarnings("ignore:.*the old address works:DeprecationWarning")
def test_a_class_is_the_same_by_its_old_address() -> None:
    assert importlib.import_module("mnv2dense.data.voc").VocDetection is VocDetection
    assert importlib.import_module("mnv2dense.exporters.onnx").export is onnx.export
    assert importlib.import_module("mnv2dense.predictor").Predictor is mnv2dense.Predictor


@pytest.mark.filterwarnings("ignore:.*the old address works:DeprecationWarning")
def test_a_name_of_before_is_found_by_its_name_now() -> None:
    pictures = importlib.import_module("mnv2dense.data.pictures")
    assert pictures.read_picture is read_image
    assert pictures.unreadable_images is unreadable_images  # which has left that module
    with pytest.raises(AttributeError, match=r"it is mnv2dense\.io\.reading now"):
        _ = pictures.read_painting


def test_an_old_address_tells_the_new_one() -> None:
    sys.modules.pop("mnv2dense.viewing", None)
    with pytest.warns(DeprecationWarning, match=r"mnv2dense\.viewing is mnv2dense\.inference\.tta now"):
        importlib.import_module("mnv2dense.viewing")


def test_every_new_address_exists_and_no_old_one_does() -> None:
    others = [finder for finder in sys.meta_path if not isinstance(finder, OldModules)]
    for old, new in MODULES.items():
        assert importlib.util.find_spec(f"mnv2dense.{new}") is not None, new
        parent = f"mnv2dense.{old}".rpartition(".")[0]
        if parent in sys.modules:
            path = sys.modules[parent].__path__
            assert all(finder.find_spec(f"mnv2dense.{old}", path) is None for finder in others), old


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mnv2dense.nothing")
