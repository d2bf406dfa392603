from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import lazy_loader
import numpy as np
import pytest
import torch
from torch import Tensor

from mnv2dense.backbones import MobileNetV2
from mnv2dense.backbones.layout import FEATURE_NAMES
from mnv2dense.models.restore import model_from
from mnv2dense.pretrained import Pretrained
from mnv2dense.pretrained.keras import read_file
from tests.helpers.peers import relative_difference

h5py = lazy_loader.load("h5py")

pytestmark = [pytest.mark.needs("h5py"), pytest.mark.filterwarnings("ignore")]  # the peer's own

PLACES = {
    "stride2": "expanded_conv_project_BN",
    "stride4": "block_2_add",
    "stride8": "block_5_add",
    "stride16": "block_12_add",
    "stride16_expanded": "block_13_expand_relu",
    "last_bottleneck": "block_16_project_BN",
    "last_conv": "out_relu",
}

EVEN = (64, 96)
ODD = (65, 97)  # and in all halves that are strided: 65 -> 33 -> 17 -> 9 -> 5 -> 3, 97 -> 49 -> 25 -> 13 -> 7 -> 4

Applications = Callable[..., Any]


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras_home")))  # it writes its settings
    keras: ModuleType = pytest.importorskip("keras")
    assert keras.backend.backend() == "torch"
    return keras


def randomised(model: Any) -> Any:  # noqa: ANN401 - keras is not imported here
    """With batch norms that have seen something: fresh ones hide a wrong epsilon or order."""
    random = np.random.default_rng(0)
    ranges = {"gamma": (0.7, 1.3), "moving_variance": (0.5, 1.5)}
    for variable in model.weights:
        kind, shape = variable.path.rpartition("/")[2], tuple(variable.shape)
        if kind == "kernel":
            fan_in = shape[0] * shape[1] * (shape[2] if shape[-1] > 1 else 1) if len(shape) == 4 else shape[0]
            variable.assign(random.normal(0, fan_in**-0.5, shape))  # values stay near 1 all the way down
        else:
            variable.assign(random.uniform(*ranges.get(kind, (-0.2, 0.3)), shape))
    return model


@pytest.fixture(scope="module")
def application(keras: ModuleType) -> Applications:
    def build(**options: object) -> Any:  # noqa: ANN401
        own = {"weights": None, "alpha": 0.35, "input_shape": (64, 96, 3), "classes": 5, "classifier_activation": None}
        return randomised(keras.applications.MobileNetV2(**(own | options)))

    return build


def save_as_keras_downloads(model: Any, path: Path) -> None:  # noqa: ANN401
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


@pytest.fixture(scope="module")
def saved(application: Applications, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 5 classes, saved in every way that Keras has."""
    folder = tmp_path_factory.mktemp("keras")
    model = application()
    save_as_keras_downloads(model, folder / "downloaded.h5")
    model.save(folder / "whole.h5")
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "new.keras")
    return folder


@pytest.fixture(scope="module")
def nested(keras: ModuleType, application: Applications, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone as one layer of a model with a classifier of its own, trained with Adam; and ``alone.h5``."""
    folder = tmp_path_factory.mktemp("nested")
    body = application(include_top=False)
    save_as_keras_downloads(body, folder / "alone.h5")
    images = keras.Input((64, 96, 3))
    x = keras.layers.RandomFlip()(keras.layers.Rescaling(1 / 127.5, offset=-1)(images))
    x = keras.layers.GlobalMaxPooling2D()(body(x))
    model = keras.Model(images, keras.layers.Dense(3, name="predictions")(keras.layers.Dense(8)(x)))
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    body.trainable = False  # as one begins, so that it stays what alone.h5 holds
    model.fit(np.zeros((1, 64, 96, 3)), np.zeros((1, 3)), verbose=0)
    model.save(folder / "whole.h5")
    model.save_weights(folder / "new.weights.h5")
    model.save(folder / "new.keras")
    save_as_keras_downloads(model, folder / "old_weights.h5")
    return folder


def assert_same(got: Pretrained, expected: Pretrained) -> None:
    for tensors, wanted in ((got.backbone, expected.backbone), (got.head, expected.head)):
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    assert got.options == expected.options


def edited(source: Path, target: Path, edit: Callable[[Any], None]) -> Path:
    shutil.copy(source, target)
    with h5py.File(target, "a") as file:
        edit(file)
    return target


@torch.no_grad()
def differences(keras: ModuleType, theirs: Any, pretrained: Pretrained) -> dict[str, float]:  # noqa: ANN401
    """Largest difference of each feature and the logits, relative to the largest value."""
    outputs = [theirs.get_layer(layer).output for layer in PLACES.values()] + theirs.outputs
    size = theirs.input_shape[1:3]
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    found = keras.Model(theirs.inputs, outputs)(images.permute(0, 2, 3, 1).numpy(), training=False)
    expected = dict(zip((*PLACES, "logits"), found, strict=True))
    ours = MobileNetV2(features=FEATURE_NAMES, **pretrained.options).eval()
    ours.load_state_dict(pretrained.backbone)
    got = ours(images)
    got["logits"] = model_from(pretrained, "keras").head(got, size)
    assert got.keys() == expected.keys()
    return {name: relative_difference(got[name], channels_first(tensor)) for name, tensor in expected.items()}


def channels_first(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor


@pytest.mark.parametrize(
    ("alpha", "size"),
    [*((alpha, ODD) for alpha in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)), (0.35, EVEN), (1.0, EVEN), (1.4, EVEN)],
)
def test_every_feature_and_the_logits_are_those_of_keras(
    keras: ModuleType, application: Applications, tmp_path: Path, alpha: float, size: tuple[int, int]
) -> None:
    theirs = application(alpha=alpha, input_shape=(*size, 3))
    path = tmp_path / "mobilenet.weights.h5"
    theirs.save_weights(path)
    pretrained = read_file(path)
    assert pretrained.width_mult == alpha
    assert max(differences(keras, theirs, pretrained).values()) < 1e-4


def test_keras_own_constants_come_along(saved: Path) -> None:
    assert read_file(saved / "new.keras").options == {
        "width_mult": 0.35,
        "depth_mult": 1.0,
        "scale_ends": True,
        "padding": "tf",
        "norm_eps": 1e-3,
        "norm_momentum": pytest.approx(0.001),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }


@pytest.mark.parametrize("name", ["whole.h5", "new.weights.h5", "new.keras"])
def test_every_format_holds_the_same_tensors(saved: Path, name: str) -> None:
    assert_same(read_file(saved / name), read_file(saved / "downloaded.h5"))


def test_the_order_of_layers_will_do_where_names_are_not_noted(saved: Path, tmp_path: Path) -> None:
    def forget_names(file: Any) -> None:  # noqa: ANN401 - as Keras 3.0 and 2.13 saved
        file.visititems(lambda path, entry: entry.attrs.pop("name", None) and None)
        file.move("layers", "_layer_checkpoint_dependencies")

    assert_same(
        read_file(edited(saved / "new.weights.h5", tmp_path / "old.weights.h5", forget_names)),
        read_file(saved / "new.weights.h5"),
    )


def test_the_names_of_old_tensorflow_are_understood(saved: Path, tmp_path: Path) -> None:
    def rename(file: Any) -> None:  # noqa: ANN401
        for layer in list(file):
            for name in list(file[layer].get(layer, ())):
                kernel = "depthwise_kernel" if layer.endswith("_depthwise") and name == "kernel" else name
                file[layer].move(f"{layer}/{name}", f"{layer}_1/{kernel}:0")
        file.move("predictions", "Logits")

    assert_same(
        read_file(edited(saved / "downloaded.h5", tmp_path / "tensorflow.h5", rename)),
        read_file(saved / "downloaded.h5"),
    )


@pytest.mark.parametrize("name", ["whole.h5", "new.weights.h5", "new.keras", "old_weights.h5"])
def test_a_backbone_inside_another_model_is_found_and_comes_without_its_head(nested: Path, name: str) -> None:
    got = read_file(nested / name)
    assert_same(got, read_file(nested / "alone.h5"))
    with pytest.raises(ValueError, match="Keras weights of a backbone without a head"):
        model_from(got, nested / name)


def test_two_backbones_in_one_model_are_refused(keras: ModuleType, application: Applications, tmp_path: Path) -> None:
    images = keras.Input((64, 96, 3))
    bodies = [application(include_top=False, name=body)(images) for body in ("left", "right")]
    model = keras.Model(images, keras.layers.Add()(bodies))
    for name in ("two.h5", "two.keras"):
        model.save(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}: it holds '\w+' twice, more than one MobileNetV2"):
            read_file(tmp_path / name)


def test_another_top_makes_it_a_backbone_alone(keras: ModuleType, application: Applications, tmp_path: Path) -> None:
    body = application(include_top=False, pooling="avg")
    model = keras.Model(body.inputs, keras.layers.Dense(3, name="predictions")(keras.layers.Dense(1280)(body.output)))
    model.save(tmp_path / "deeper.keras")
    assert read_file(tmp_path / "deeper.keras").model is None


@torch.no_grad()
def test_a_model_for_any_size_answers_the_same_where_sides_are_even(
    keras: ModuleType, application: Applications, tmp_path: Path
) -> None:
    theirs = application(include_top=False, input_shape=None)
    theirs.save(tmp_path / "any.keras")
    pretrained = read_file(tmp_path / "any.keras")
    ours = MobileNetV2(**pretrained.options).eval()
    ours.load_state_dict(pretrained.backbone)
    images = torch.randn(1, 3, 64, 128)
    expected = channels_first(theirs(images.permute(0, 2, 3, 1).numpy(), training=False))
    assert relative_difference(ours(images)["last_conv"], expected) < 1e-4


def test_a_classifier_brings_its_size_and_counts_classes_from_the_first_column(
    application: Applications, saved: Path, tmp_path: Path
) -> None:
    for name, size in (("new.keras", [64, 96]), ("whole.h5", [64, 96]), ("downloaded.h5", [224, 224])):
        model = read_file(saved / name).model
        assert model is not None
        assert model["size"] == size
        assert model["class_names"] == ["0", "1", "2", "3", "4"]
        assert model["head"]["class_offset"] == 0
    path = tmp_path / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_160.h5"
    save_as_keras_downloads(application(classes=1000), path)
    model = read_file(path).model
    assert model is not None
    assert model["size"] == [160, 160]
    assert (model["class_names"][0], model["class_names"][-1]) == ("tench", "toilet tissue")


def test_another_architecture_is_refused_with_what_was_found(keras: ModuleType, tmp_path: Path) -> None:
    theirs = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(64, 64, 3))
    theirs.save(tmp_path / "other.keras")
    save_as_keras_downloads(theirs, tmp_path / "other.h5")
    for name in ("other.keras", "other.h5"):
        with pytest.raises(
            ValueError, match=rf"{name}: \d+ of the 104 layers .* are missing.*the file has \d+ layers.*MobileNetV2"
        ):
            read_file(tmp_path / name)


def test_a_missing_layer_is_named(saved: Path, tmp_path: Path) -> None:
    def remove(file: Any) -> None:  # noqa: ANN401
        del file["block_3_expand_BN"]

    with pytest.raises(ValueError, match=r"cut\.h5: 1 of the 104 layers .* first 'block_3_expand_BN'"):
        read_file(edited(saved / "downloaded.h5", tmp_path / "cut.h5", remove))


def test_a_layer_of_another_shape_is_named(saved: Path, tmp_path: Path) -> None:
    def shrink(file: Any) -> None:  # noqa: ANN401
        del file["Conv_1_bn/Conv_1_bn/beta"]
        file["Conv_1_bn/Conv_1_bn/beta"] = np.zeros(7, np.float32)

    def flatten(file: Any) -> None:  # noqa: ANN401
        del file["Conv1/Conv1/kernel"]
        file["Conv1/Conv1/kernel"] = np.zeros(7, np.float32)

    with pytest.raises(ValueError, match=r"small\.h5: 'last_conv\.1\.bias', .* has shape \[7\], but \[1280\]"):
        read_file(edited(saved / "downloaded.h5", tmp_path / "small.h5", shrink))
    with pytest.raises(ValueError, match=r"flat\.h5: 'kernel' of 'Conv1' has shape \[7\], but 4 axes"):
        read_file(edited(saved / "downloaded.h5", tmp_path / "flat.h5", flatten))


def test_integers_are_refused(saved: Path, tmp_path: Path) -> None:
    def quantise(file: Any) -> None:  # noqa: ANN401
        values = file["Conv1/Conv1/kernel"][()]
        del file["Conv1/Conv1/kernel"]
        file["Conv1/Conv1/kernel"] = values.astype("int8")

    with pytest.raises(ValueError, match=r"int8\.h5: '/Conv1/Conv1/kernel' holds int8, not floating point"):
        read_file(edited(saved / "downloaded.h5", tmp_path / "int8.h5", quantise))


@pytest.mark.parametrize("name", ["downloaded.h5", "new.weights.h5", "new.keras"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_cut_short_is_named(saved: Path, tmp_path: Path, name: str, share: float) -> None:
    content = (saved / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"{name} cannot be read .*damaged or cut short"):
        read_file(tmp_path / name)


def test_a_page_saved_as_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.h5").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.h5 cannot be read .*file signature not found"):
        read_file(tmp_path / "page.h5")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none.h5")


def test_no_link_leads_out_of_the_file(saved: Path, tmp_path: Path) -> None:
    shutil.copy(saved / "downloaded.h5", tmp_path / "secret.h5")
    links = {
        "external.h5": h5py.ExternalLink("secret.h5", "/Conv1/Conv1/kernel"),
        "soft.h5": h5py.SoftLink("/Conv_1/Conv_1/kernel"),
    }
    for name, link in links.items():

        def replace(file: Any, link: object = link) -> None:  # noqa: ANN401
            del file["Conv1/Conv1/kernel"]
            file["Conv1/Conv1/kernel"] = link

        with pytest.raises(ValueError, match=rf"{name}: 1 of the 104 layers .* first 'Conv1'"):
            read_file(edited(saved / "downloaded.h5", tmp_path / name, replace))


def test_no_values_are_taken_from_another_file(saved: Path, tmp_path: Path) -> None:
    shape = (3, 3, 3, 16)
    (tmp_path / "secret").write_bytes(bytes(4 * 432))

    def raw(file: Any) -> None:  # noqa: ANN401
        del file["Conv1/Conv1/kernel"]
        file["Conv1/Conv1"].create_dataset("kernel", shape, "f4", external=[(tmp_path / "secret", 0, 4 * 432)])

    def virtual(file: Any) -> None:  # noqa: ANN401
        del file["Conv1/Conv1/kernel"]
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(saved / "downloaded.h5", "Conv1/Conv1/kernel", shape)
        file["Conv1/Conv1"].create_virtual_dataset("kernel", layout)

    for name, edit in (("raw.h5", raw), ("virtual.h5", virtual)):
        with pytest.raises(ValueError, match=rf"{name}: '/Conv1/Conv1/kernel' keeps its values in another file"):
            read_file(edited(saved / "downloaded.h5", tmp_path / name, edit))


def test_a_small_file_that_would_fill_the_memory_is_refused(saved: Path, tmp_path: Path) -> None:
    def inflate(file: Any) -> None:  # noqa: ANN401
        del file["Conv1/Conv1/kernel"]
        file["Conv1/Conv1"].create_dataset("kernel", (3, 3, 3, 10**12), "f4", chunks=(3, 3, 3, 16), compression="gzip")

    with pytest.raises(ValueError, match=r"huge\.h5: it declares 27,000,\d+,\d+,\d+ values"):
        read_file(edited(saved / "downloaded.h5", tmp_path / "huge.h5", inflate))


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.keras", {"model.weights.h5": b"0", "config.json": b"{}"})
    content = bytearray(path.read_bytes())
    size = content.index(b"PK\x01\x02") + 24  # where the archive's directory has the unpacked size of its first member
    content[size : size + 4] = struct.pack("<I", 2**30)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bomb\.keras: its model\.weights\.h5 would be 1,073,741,824 bytes"):
        read_file(path)


def test_an_archive_without_weights_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "other.keras", {"config.json": b"{}"})
    with pytest.raises(ValueError, match=r"other\.keras: a zip archive without 'model\.weights\.h5'"):
        read_file(path)


def test_nothing_that_a_config_names_is_run(saved: Path, tmp_path: Path) -> None:
    with ZipFile(saved / "new.keras") as file:
        weights = file.read("model.weights.h5")
    command = f"touch {tmp_path / 'ran'}"
    config = f'{{"module": "os", "class_name": "system", "config": {{"command": "{command}"}}}}'
    path = archive(tmp_path / "hostile.keras", {"model.weights.h5": weights, "config.json": config.encode()})
    assert_same(read_file(path), read_file(saved / "new.keras"))
    assert not (tmp_path / "ran").exists()


def test_without_h5py_the_error_says_what_to_install(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "mnv2dense\[keras\]"'):
        read_file(saved / "downloaded.h5")
