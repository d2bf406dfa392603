"""Going on with a run (``resume=``): what is refused, what is said, and the schedule over another length."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

import mnv2dense.training.check_resume as check_resume_module
from mnv2dense.backbones.mobilenet_v2 import MobileNetV2
from mnv2dense.data.module import DataModule
from mnv2dense.heads import ClassifierHead
from mnv2dense.losses import CrossEntropyLoss
from mnv2dense.metrics import Accuracy
from mnv2dense.models.checkpoint import model_entry
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.training.check_resume import check_resume
from mnv2dense.training.resuming import RUN, name_of, run_entry, say_processes, span_anew, steps_in_all
from mnv2dense.training.schedules import Cosine, Exponential, Poly, Step
from mnv2dense.training.task import Task
from mnv2dense.types import Sample

Schedule = Callable[..., Callable[[int], float]]

ADAMW = partial(torch.optim.AdamW, lr=0.001, weight_decay=0.05)
EPOCHS = {"max_epochs": 10}
STEPS_OF_EPOCH = 5


class Images:
    """Only their number and names are asked for."""

    def __init__(self, count: int = 20, names: tuple[str, ...] = ("cat", "dog")) -> None:
        self.count, self.class_names = count, names

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("no image is needed")

    def labels_of(self, index: int) -> list[int]:
        return [1] if index == 0 else [0]

    def path_of(self, image_id: int) -> Path:
        return Path(f"{image_id}.jpg")


class Planning:
    def __call__(self, sample: Sample, seed: int) -> Sample:
        return sample

    def plan(self, sample: Sample, seed: int, size: tuple[int, int], mode: ResizeMode) -> None:
        return None


def data(count: int = 20, *, batch_size: int = 4, seed: int = 0, **options: Any) -> DataModule:  # noqa: ANN401
    return DataModule(train=Images(count), val=None, batch_size=batch_size, seed=seed, **options)  # type: ignore[arg-type]


def task(
    *names: str,
    size: tuple[int, int] = (64, 64),
    optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    schedule: Schedule | None = Cosine,
    backbone_lr_factor: float = 1.0,
    **options: Any,  # noqa: ANN401 - of the backbone
) -> Task:
    backbone = MobileNetV2(width_mult=0.35, features=("stride8",), **options)
    head = ClassifierHead(backbone.feature_info, size=size, class_names=names or ("cat", "dog"))
    model = DenseModel(backbone, head, size=size)
    return Task(
        model=model,
        loss=CrossEntropyLoss(),
        metric=Accuracy(),
        optimizer=optimizer,
        schedule=schedule,
        backbone_lr_factor=backbone_lr_factor,
    )


def checkpoint_of(
    run: Task, *, epoch: int = 3, batches: int = 0, of_version_01: bool = False, **record: object
) -> dict[str, Any]:
    """As a run of ten epochs of five steps leaves it."""
    optimizer = run.new_optimizer()
    content: dict[str, Any] = {
        "mnv2dense": model_entry(run.model),
        "global_step": STEPS_OF_EPOCH * epoch + batches,
        "callbacks": {"BestAndLast": {"epoch": epoch, "batches": batches}},
        "lr_schedulers": [],
    }
    if run.schedule is not None:
        scheduler = LambdaLR(optimizer, run.schedule(total_steps=10 * STEPS_OF_EPOCH))
        for _ in range(content["global_step"]):
            optimizer.step()
            scheduler.step()
        content["lr_schedulers"] = [scheduler.state_dict()]
        record = {"schedule": name_of(scheduler.lr_lambdas[0]), **record}
    content["optimizer_states"] = [optimizer.state_dict()]
    if not of_version_01:
        known = {"optimizer": type(optimizer).__name__, "max_epochs": 10, "accumulate_grad_batches": 1}
        drawn = {"images": 20, "epoch_length": 20, "repeat_threshold": None, "train_sizes": [], "views": None}
        drawn |= {"reduced_decode": True, "cached": False, "blocks": None}
        content[RUN] = {**known, **drawn, "batch_size": 4, "seed": 0, **record}
    return content


def asked(
    folder: Path,
    content: dict[str, Any],
    now: Task,
    to: DataModule | None = None,
    config: dict[str, Any] | None = None,
    **trainer: object,
) -> Path:
    """What resuming from it says."""
    (folder / "checkpoints").mkdir(exist_ok=True)
    torch.save(content, folder / "checkpoints" / "last.ckpt")
    return check_resume(str(folder), now, to or data(), {**EPOCHS, **trainer}, config=config)


@pytest.mark.parametrize("of_version_01", [False, True])
@pytest.mark.parametrize("schedule", [Cosine, Poly, Step, partial(Exponential, epochs=10), None])
def test_the_options_of_before_are_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, schedule: Schedule | None, of_version_01: bool
) -> None:
    content = checkpoint_of(task(schedule=schedule), of_version_01=of_version_01)
    assert asked(tmp_path, content, task(schedule=schedule)) == tmp_path / "checkpoints" / "last.ckpt"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("dog", "cat"), r"its classes have another order: label 0 is 'cat' there and 'dog' in the data"),
        (("bus", "dog"), r"its classes are not the data's: the run alone has cat; the data alone have bus\."),
        (("cat", "dog", "owl"), r"its classes are not the data's: the data alone have owl\."),
    ],
)
def test_other_classes_are_refused_by_name_with_the_way_on(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=rf"resume={tmp_path}: {said}.* init_from={tmp_path}, which takes classes by"):
        asked(tmp_path, checkpoint_of(task("cat", "dog")), task(*names))


@pytest.mark.parametrize("of_version_01", [False, True])
@pytest.mark.parametrize(
    ("now", "said"),
    [
        (partial(torch.optim.SGD, lr=0.001, weight_decay=0.05), r"its optimizer is (AdamW|another one), not SGD"),
        (partial(ADAMW, lr=0.01), r"its optimizer has lr=0\.001, not 0\.01"),
        (partial(ADAMW, betas=(0.8, 0.999)), r"its optimizer has betas=\(0\.9, 0\.999\), not \(0\.8, 0\.999\)"),
    ],
)
def test_another_optimizer_is_refused_with_both_ways_on(
    tmp_path: Path, now: Callable[..., torch.optim.Optimizer], said: str, of_version_01: bool
) -> None:
    ways = rf"Give the options of that run, or begin a new one with init_from={tmp_path}\.$"
    with pytest.raises(ValueError, match=f"{said}.* {ways}"):
        asked(tmp_path, checkpoint_of(task(), of_version_01=of_version_01), task(optimizer=now))


@pytest.mark.parametrize(
    ("run", "now", "said"),
    [
        (task(), task(backbone_lr_factor=0.1), r"its optimizer has lr=0\.001, not 0\.0001/0\.001\."),
        (task(optimizer=partial(ADAMW, weight_decay=0.0)), task(), r"its optimizer has weight_decay=0, not 0\.05/0\."),
    ],
)
def test_an_option_of_some_groups_alone_is_compared_group_by_group(
    tmp_path: Path, run: Task, now: Task, said: str
) -> None:
    """The value of before is still that of some groups; the checkpoint's would have been taken for all of them."""
    with pytest.raises(ValueError, match=said):
        asked(tmp_path, checkpoint_of(run), now)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"padding": "tf"}, r"its model has backbone\.padding=torch, not tf\."),
        ({"norm_eps": 1e-3}, r"its model has backbone\.norm_eps=1e-05, not 0\.001\."),
        ({"mean": (0.4, 0.5, 0.5)}, r"its model has backbone\.mean=\[0\.5, 0\.5, 0\.5\], not \[0\.4, 0\.5, 0\.5\]\."),
    ],
)
def test_a_model_of_the_same_tensors_and_other_options_is_another_one(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        asked(tmp_path, checkpoint_of(task()), task(**options))


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (
            "mobilenet_v2_1.0_224",
            None,
            r"it was started with backbone\.weights=mobilenet_v2_1\.0_224, which is not given here; its model "
            r"has backbone\.padding=tf, not torch\. Give the options of that run",
        ),
        ("a.h5", "b.pth", r"it was started with backbone\.weights=a\.h5, not b\.pth; its model has"),
        (None, "b.pth", r"it was started without backbone\.weights=b\.pth; its model has"),
        ("a.h5", "a.h5", r"its model has backbone\.padding=tf, not torch\."),
    ],
)
def test_weights_that_were_forgotten_are_named_before_what_they_brought(
    tmp_path: Path, there: str | None, here: str | None, said: str
) -> None:
    def config(weights: str | None) -> dict[str, Any]:
        return {"backbone": {"weights": weights, "padding": None}, "head": {"features": ["stride8"]}}

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(there)))
    with pytest.raises(ValueError, match=rf"^resume={tmp_path}: {said}"):
        asked(tmp_path, checkpoint_of(task(padding="tf")), task(), config=config(here))


def test_a_model_of_other_tensors_is_told_by_the_options_that_make_it_another(tmp_path: Path) -> None:
    said = r"another one, \d+ of its tensors differ in name or shape: it has backbone\.expansion=6, not 3\. Give"
    with pytest.raises(ValueError, match=said):
        asked(tmp_path, checkpoint_of(task()), task(expansion=3))


def flat(*, total_steps: int) -> Callable[[int], float]:
    return lambda step: 1.0


def halved(*, total_steps: int) -> Callable[[int], float]:
    return lambda step: 0.5


def test_a_schedule_that_is_a_function_is_known_by_its_name(tmp_path: Path) -> None:
    content = checkpoint_of(task(schedule=flat))
    asked(tmp_path, content, task(schedule=flat))
    for other in (halved, partial(Cosine, warmup=15)):
        with pytest.raises(ValueError, match=r"its schedule is flat\.<locals>\.<lambda>, not (halved|Cosine)"):
            asked(tmp_path, content, task(schedule=other))


def test_the_config_that_has_the_options_is_named_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=rf"Give the options of that run \({tmp_path}/config\.yaml has them\), or"):
        asked(tmp_path, checkpoint_of(task()), task(optimizer=partial(ADAMW, lr=0.01)))


def test_frozen_layers_are_no_other_optimizer(tmp_path: Path) -> None:
    """The backbone's groups, with a learning rate of their own, are missing."""
    run = task()
    run.model.backbone.requires_grad_(False)
    asked(tmp_path, checkpoint_of(run), task())


@pytest.mark.parametrize("of_version_01", [False, True])
@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Step, r"its schedule is (Cosine, not Step|another one than Step)\."),
        (Poly, r"its schedule is (Cosine, not Poly|another one than Poly)\."),
        (None, r"it has a schedule, and none is given\."),
    ],
)
def test_another_schedule_is_refused_with_both_ways_on(
    tmp_path: Path, now: Schedule | None, said: str, of_version_01: bool
) -> None:
    with pytest.raises(ValueError, match=f"{said} Give the options of that run, or begin a new one"):
        asked(tmp_path, checkpoint_of(task(), of_version_01=of_version_01), task(schedule=now))


def test_another_warm_up_of_the_same_length_is_another_schedule(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"its schedule has warmup_steps=0, not 10\. Give the options"):
        asked(tmp_path, checkpoint_of(task()), task(schedule=partial(Cosine, warmup=10)))


def test_another_length_is_no_other_schedule(tmp_path: Path) -> None:
    schedule = partial(Step, milestones=[4, 8], epochs=10)
    asked(tmp_path, checkpoint_of(task(schedule=schedule)), task(schedule=partial(schedule, epochs=20)), max_epochs=20)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"max_epochs": 3}, "all 3 epochs are done, so nothing is trained .* set trainer.max_epochs=4 or more"),
        ({"max_steps": 15}, "all 15 steps are done, so nothing is trained .* set trainer.max_steps=16 or more"),
    ],
)
def test_a_finished_run_is_said_to_be_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trainer: dict[str, int], said: str
) -> None:
    asked(tmp_path, checkpoint_of(task()), task(), **trainer)
    (record,) = caplog.records
    assert re.search(f"resume={tmp_path}: {said}", record.getMessage())


def test_a_length_behind_the_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"3 epochs are done, more than trainer\.max_epochs=2\. Set trainer\.max_epochs=4 or more .* scored",
    ):
        asked(tmp_path, checkpoint_of(task()), task(), max_epochs=2)


@pytest.mark.parametrize(
    ("to", "now", "trainer", "said"),
    [
        (data(batch_size=2), task(), {}, "data.batch_size=2, 4 before: optimizer.lr stays as it was"),
        (data(30), task(), {}, "30 images to learn from, 20 before"),
        (
            data(repeat_threshold=0.9),
            task(),
            {},
            "data.repeat_threshold=0.9, null before: an epoch has 24 images from here on. The run is not to the bit",
        ),
        (
            data(train_sizes=[[64, 64], [96, 64]]),
            task(),
            {},
            r"data\.train_sizes: \[64,64\]\[96,64\], none before: batches have other sizes from here on",
        ),
        (data(seed=1), task(), {}, "seed=1, 0 before"),
        (
            data(views=2),
            task(),
            {},
            r"data\.views=2, null before: images have other views from here on",
        ),
        (
            data(augment=Planning(), reduced_decode=False),
            task(),
            {},
            r"data\.reduced_decode is off, on before: training images differ in rounding from here on",
        ),
        (data(), task(size=(96, 64)), {}, r"model\.size=\[96,64\], \[64,64\] before: .* the best score so far is of"),
        (data(), task(), {"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches=2, 1 before"),
    ],
)
def test_what_changed_is_said_with_what_that_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, to: DataModule, now: Task, trainer: dict[str, int], said: str
) -> None:
    asked(tmp_path, checkpoint_of(task()), now, to, **trainer)
    (record,) = caplog.records
    assert re.search(said, record.getMessage())


def test_another_momentum_of_batch_norms_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = task()
    now.model.config["backbone"]["norm_momentum"] = 0.003
    asked(tmp_path, checkpoint_of(task()), now)
    (record,) = caplog.records
    assert re.search(r"backbone\.norm_momentum=0\.003, 0\.1 before: running statistics follow", record.getMessage())


def test_several_processes_say_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_resume_module, "is_first_process", lambda: False)
    asked(tmp_path, checkpoint_of(task()), task(), data(seed=1))
    assert caplog.text == ""


def trainer_of(*, epochs: int, batches: int = STEPS_OF_EPOCH, accumulate: int = 1, steps: int = -1) -> SimpleNamespace:
    in_all = -(-batches // accumulate) * epochs
    return SimpleNamespace(
        estimated_stepping_batches=in_all if steps == -1 else min(steps, in_all),
        max_epochs=epochs,
        max_steps=steps,
        num_training_batches=batches,
        accumulate_grad_batches=accumulate,
    )


@pytest.mark.parametrize(
    ("processes", "batch_size", "place", "said"),
    [
        (
            2,
            4,
            {},
            "2 processes, 1 before: a step takes 8 images, 4 before, and optimizer.lr stays as it was; the run is",
        ),
        (2, 2, {}, "2 processes, 1 before: a step takes 4 images, as before; the run is not to the bit"),
        (4, 1, {"batches": 2}, "as before; of the epoch that it stopped in, some images come twice or not at all; the"),
        (1, 4, {"batches": 2}, ""),
    ],
)
def test_another_number_of_processes_is_said_with_what_it_does(
    caplog: pytest.LogCaptureFixture, processes: int, batch_size: int, place: dict[str, int], said: str
) -> None:
    trainer: Any = SimpleNamespace(
        datamodule=data(batch_size=batch_size),
        world_size=processes,
        optimizers=[],
        lr_scheduler_configs=[],
        max_epochs=10,
        accumulate_grad_batches=1,
        state=SimpleNamespace(fn="fit"),
    )
    run = task()
    content = checkpoint_of(run, **place, processes=1)
    assert run_entry(trainer).keys() == content[RUN].keys()
    run.trainer = trainer
    run.on_load_checkpoint(content)
    assert [said in line for line in caplog.messages] == ([True] if said else [])
    caplog.clear()
    say_processes(checkpoint_of(run), trainer)  # of before it was noted
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("place", "trainer", "steps"),
    [
        ({"epoch": 3}, trainer_of(epochs=10), 50),
        ({"epoch": 3, "batches": 2}, trainer_of(epochs=10), 50),
        ({"epoch": 9, "batches": 5}, trainer_of(epochs=10), 50),  # in the last validation
        ({"epoch": 10}, trainer_of(epochs=14), 70),
        ({"epoch": 3}, trainer_of(epochs=10, batches=10), 15 + 7 * 10),  # half the batch size from here on
        ({"epoch": 3}, trainer_of(epochs=10, batches=5, accumulate=2), 15 + 7 * 3),
        ({"epoch": 3}, trainer_of(epochs=10, steps=20), 20),
    ],
)
def test_the_steps_of_a_resumed_run_are_those_done_and_those_left(
    place: dict[str, int], trainer: SimpleNamespace, steps: int
) -> None:
    assert steps_in_all(checkpoint_of(task(), **place), trainer) == steps  # type: ignore[arg-type]


def test_a_schedule_spans_the_new_length_from_where_the_run_stands(caplog: pytest.LogCaptureFixture) -> None:
    content = checkpoint_of(task(schedule=partial(Cosine, warmup=0.0)), epoch=10)
    assert max(group["lr"] for group in content["optimizer_states"][0]["param_groups"]) == 0
    longer = Cosine(total_steps=100, warmup=0.0)
    span_anew(content, longer)
    groups = content["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in groups] == pytest.approx([0.0005] * len(groups))  # half way down the cosine
    assert (
        "spans 100 optimiser steps now, 50 before: after 50 of them the learning rate goes on at 0.0005" in caplog.text
    )
    optimizer = task().new_optimizer()
    restored = LambdaLR(optimizer, longer)
    restored.load_state_dict(content["lr_schedulers"][0])
    assert longer.total_steps == 100


def test_a_schedule_of_the_same_length_is_restored_as_it_was() -> None:
    content = checkpoint_of(task())
    before = repr((content["lr_schedulers"], content["optimizer_states"][0]["param_groups"]))
    span_anew(content, Cosine(total_steps=50))
    assert repr((content["lr_schedulers"], content["optimizer_states"][0]["param_groups"])) == before


def test_other_trained_parameters_are_told_before_torch_stumbles() -> None:
    run = task()
    content = checkpoint_of(run)
    run.trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"))  # type: ignore[assignment]
    run.model.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match=r"its run trained \d+ parameters in 4 groups, this one would train 2 in 2"):
        run.on_load_checkpoint(content)
    assert isinstance(run.model.head, nn.Module)
