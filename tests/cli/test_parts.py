"""What commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra.errors import InstantiationException

from mnv2dense import save_model
from mnv2dense.cli.parts import built
from mnv2dense.data.datasets import image_list
from mnv2dense.data.shapes.drawing import SHAPE_CLASSES
from mnv2dense.inference.predictor import Predictor
from tests.helpers.tiny import command, tiny_model


@pytest.mark.usefixtures("place")
def test_one_predictor_draws_all_of_a_runs_images_and_each_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    read: list[Path] = []
    make, read_image = Predictor.__init__, image_list.read_image

    def counted(self: Predictor, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        made.append(self)
        make(self, *arguments, **options)  # type: ignore[arg-type]

    def noted(path: Path) -> Any:  # noqa: ANN401
        read.append(path)
        return read_image(path)

    save_model(tiny_model(6, size=(64, 64), class_names=SHAPE_CLASSES), "tiny.ckpt")
    monkeypatch.setattr(Predictor, "__init__", counted)
    monkeypatch.setattr(image_list, "read_image", noted)
    outcome = command(
        *(
            "evaluate",
            "checkpoint=tiny.ckpt",
            "data=shapes",
            "data.train_images=2",
            "data.val_images=2",
            "num_workers=0",
            "run_dir=out",
        )
    )
    assert outcome.code == 0, outcome.err
    assert len(made) == 1
    # Scored, in samples.jpg, and among the worst and the best; the report's first image is named without its pixels.
    assert len(read) <= 2 * 4 + 1


def test_what_a_constructor_says_begins_with_the_part_that_has_its_options() -> None:
    with pytest.raises(InstantiationException) as found:
        built({"_target_": "mnv2dense.losses.OhemCrossEntropy", "keep": 2.0}, "loss")
    assert str(found.value.__cause__).startswith("loss: keep=2.0: a share of the pixels, 0 to 1")
