"""Fine-tuning for int8, on a model that int8 would ruin."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mnv2dense import load_model
from mnv2dense.heads.classifier import ClassifierHead
from mnv2dense.models.backbone import mobilenet_v2
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.fuse import fold_batch_norms
from mnv2dense.quantization import fake_quantization
from mnv2dense.quantization.fake_quantization import FakeQuantization
from mnv2dense.quantization.int8 import input_ranges, simulated_int8
from mnv2dense.training.quantization_aware import QuantizationAware
from tests.helpers.tiny import TINY, command

pytestmark = pytest.mark.needs("torchao")

_SIZE = (32, 32)
_CLASSES = 4
_FACTOR = 200


class Colours(pl.LightningModule):
    """Which of four noisy colours an image has."""

    def __init__(self, model: DenseModel) -> None:
        super().__init__()
        self.model = model
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(32) % _CLASSES
        colours = torch.tensor([[90, 120, 120], [120, 90, 120], [120, 120, 90], [120, 120, 120]])
        noise = torch.randint(-30, 31, (32, 3, *_SIZE), generator=generator)
        self.images = (colours[self.labels][..., None, None] + noise).to(torch.uint8)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.model(self.images[batch]), self.labels[batch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=3e-3)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(range(32), batch_size=16)  # type: ignore[arg-type]  # indices are samples enough

    @torch.no_grad()
    def losses(self) -> tuple[float, float]:
        """In float, and in int8 as a file would have it."""
        folded = fold_batch_norms(copy.deepcopy(self.model).eval())
        ranges = input_ranges(folded, folded, [self.images])
        exact = F.cross_entropy(folded(self.images), self.labels)
        with simulated_int8(folded, ranges):
            return float(exact), float(F.cross_entropy(folded(self.images), self.labels))


def _fit(task: pl.LightningModule, folder: Path, epochs: int, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:  # noqa: ANN401
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), default_root_dir=folder, logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(task, **options)
    return trainer


def _model() -> DenseModel:
    torch.manual_seed(0)
    backbone = mobilenet_v2(width_mult=0.35, features=("stride4",))
    head = ClassifierHead(backbone.feature_info, size=_SIZE, class_names="abcd", dropout=0.0)
    return DenseModel(backbone, head, size=_SIZE)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights trained in float, then made hard for int8 without a change of what they compute."""
    task = Colours(_model())
    _fit(task, tmp_path_factory.mktemp("float"), 40)
    blocks = task.model.backbone.blocks
    # Between a linear bottleneck and the expansion after it a factor can move: one channel gets all of the range.
    norm, following = blocks[0].projection[1], blocks[1].expansion[0]
    norm.weight.data[0] *= _FACTOR
    norm.bias.data[0] *= _FACTOR
    following.weight.data[:, 0] /= _FACTOR
    return task.model.state_dict()


def test_it_learns_to_live_with_int8_where_training_on_does_not(spoilt: dict[str, Tensor], tmp_path: Path) -> None:
    aware, plain = Colours(_model()), Colours(_model())
    for task in (aware, plain):
        task.model.load_state_dict(spoilt)
    exact, before = aware.losses()
    assert exact < 0.1
    assert before > 0.5, "int8 should ruin it"
    _fit(aware, tmp_path, 20, QuantizationAware(observe_steps=10))
    _fit(plain, tmp_path, 20)
    assert aware.losses()[1] < 0.05
    assert plain.losses()[1] > 0.2


def test_what_is_left_is_a_plain_model_with_the_batch_norms_it_had(spoilt: dict[str, Tensor], tmp_path: Path) -> None:
    task = Colours(_model())
    task.model.load_state_dict(spoilt)
    _fit(task, tmp_path, 1, QuantizationAware(observe_steps=1))
    after = task.model.state_dict()
    assert list(after) == list(spoilt)
    statistics = [name for name in after if "running" in name]
    assert all(torch.equal(after[name], spoilt[name]) for name in statistics)
    assert not torch.equal(after["backbone.stem.0.weight"], spoilt["backbone.stem.0.weight"])
    untouched = _model().eval()
    untouched.load_state_dict(after)
    assert torch.equal(task.model.eval()(task.images), untouched(task.images))


def test_rounding_before_batch_norm_is_rounding_after_it_was_folded_in() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)).eval()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        assert tensor is not None
        tensor.normal_()  # scales of both signs
    x = torch.randn(2, 3, 9, 9)
    quantization = FakeQuantization(model)
    quantization.attach()
    rounded = model(x)
    quantization.detach()
    folded = fold_batch_norms(copy.deepcopy(model))
    with simulated_int8(folded, input_ranges(folded, folded, [x])):
        torch.testing.assert_close(folded(x), rounded, rtol=1e-4, atol=1e-4)
    assert float((model(x) - rounded).detach().abs().max()) > 1e-3


def test_ranges_follow_the_images_and_then_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    quantization = FakeQuantization(model, keep_float=["1"])
    quantization.attach()
    model(torch.tensor([[0.0, 2.55]]))
    (scale,) = [value for name, value in quantization.state.state_dict().items() if name == "0.0.scale"]
    torch.testing.assert_close(scale, torch.tensor([0.01]))
    assert "forward" not in model[1].__dict__
    quantization.observe(False)
    model(torch.tensor([[0.0, 255.0]]))
    torch.testing.assert_close(quantization.state.state_dict()["0.0.scale"], torch.tensor([0.01]))
    quantization.observe(True)
    model(torch.tensor([[0.0, 255.0]]))
    assert quantization.state.state_dict()["0.0.scale"] > 0.01


def test_a_resumed_run_has_the_ranges_of_the_one_before(spoilt: dict[str, Tensor], tmp_path: Path) -> None:
    task, callback = Colours(_model()), QuantizationAware(observe_steps=2)
    task.model.load_state_dict(spoilt)
    saved: dict[str, Any] = {}

    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.save_checkpoint(tmp_path / "last.ckpt")
            saved.update(callback.state_dict())

    _fit(task, tmp_path, 1, callback, Saves())
    assert saved["seen"] == 2
    resumed = QuantizationAware(observe_steps=2)
    looks = _Looks(resumed)
    _fit(Colours(_model()), tmp_path, 2, resumed, looks, ckpt_path=tmp_path / "last.ckpt")
    assert looks.ranges.keys() == saved["ranges"].keys()
    activations = [name for name in saved["ranges"] if name.startswith("0.") and name.endswith("scale")]
    assert all(torch.equal(looks.ranges[name], saved["ranges"][name]) for name in activations)


class _Looks(pl.Callback):
    def __init__(self, callback: QuantizationAware) -> None:
        self.callback = callback
        self.ranges: dict[str, Tensor] = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ranges = self.callback.state_dict()["ranges"]


def test_without_torchao_there_is_one_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_quantization, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs torchao: pip install "mnv2dense\[quantization\]"'):
        QuantizationAware()


@pytest.mark.usefixtures("place", "unreported")
def test_a_run_is_fine_tuned_resumed_and_exported_as_any_other(caplog: pytest.LogCaptureFixture) -> None:
    tiny = [*TINY, "task=classification", "data.train_images=8", "data.val_images=4"]
    assert command("train", *tiny, "run_dir=float").code == 0
    aware = [*tiny, "callbacks=quantization_aware", "callbacks.quantization_aware.observe_steps=5"]  # of 3 an epoch
    outcome = command("train", *aware, "init_from=float", "run_dir=aware")
    assert outcome.code == 0, outcome.err
    assert "ranges of activations stay" not in caplog.text
    outcome = command("train", *aware, "resume=aware", "trainer.max_epochs=2", "run_dir=more")
    assert outcome.code == 0, outcome.err
    assert "ranges of activations stay" in caplog.text

    before, after = load_model("float"), load_model("more")
    assert after.state_dict().keys() == before.state_dict().keys()
    assert {tensor.dtype for tensor in after.parameters()} == {torch.float32}
    pytest.importorskip("onnxruntime", reason='pip install -e ".[onnx]"')
    outcome = command(
        "export", "checkpoint=more", "exporter=onnx", "precision=int8", "tolerance.agreement=0", "output=small.onnx",
        "calibration_images=4", "parity_images=4",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert Path("small.onnx").is_file()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "add init_from= and the run that trained it"),
        (["compile=true"], "compile=true: torch cannot compile torchao's fake quantisation; leave compile out"),
        (["callbacks.quantization_aware.observe_steps=0"], "observe_steps=0: at least one batch"),
    ],
)
def test_a_command_that_cannot_be_gets_one_line(options: list[str], expected: str) -> None:
    outcome = command("train", *TINY, "task=classification", "callbacks=quantization_aware", *options, "run_dir=run")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert expected in outcome.err


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="observe_steps=0"):
        QuantizationAware(observe_steps=0)
    with pytest.raises(ValueError, match=r"keep_float=backbone.stam: the model has no such module; .*backbone.stem"):
        FakeQuantization(_model(), keep_float=["backbone.stam"])
    with pytest.raises(ValueError, match="add init_from="):
        _fit(Colours(_model()), tmp_path, 1, QuantizationAware())
