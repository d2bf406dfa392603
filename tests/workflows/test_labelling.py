"""Tables of labels: what is in them, and that a table is gone on with and never mixed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnv2dense import DenseModel, Predictor, deeplabv3_mobilenet_v2, mobilenet_v2_classifier
from mnv2dense.inference.label_parts import Labeller
from mnv2dense.models.checkpoint import save_model
from mnv2dense.workflows.labelling import label, labeller_of
from tests.helpers.joint import joint_model
from tests.helpers.tiny import command, random_images, tiny_model

pytestmark = [pytest.mark.needs("pyarrow"), pytest.mark.usefixtures("place")]

SIZE = (64, 64)


def detector(**options: Any) -> DenseModel:  # noqa: ANN401
    """It finds something in any noise."""
    return tiny_model(3, size=SIZE, score_threshold=0.05, limit=5, **options)


def photos(count: int = 7) -> Path:
    """Of two sizes; the third, where there is one, is none."""
    Path("photos").mkdir()
    for number, noise in enumerate(random_images(count, (48, 64))):
        image = noise.permute(1, 2, 0).numpy()[: 40 + 8 * (number % 2)]
        Image.fromarray(image).save(f"photos/{number}.png")
    if count > 2:
        Path("photos/2.png").write_text("no image", encoding="utf-8")
    return Path("photos")


def opener(model: DenseModel, **options: Any) -> Callable[[], Labeller]:  # noqa: ANN401
    return partial(labeller_of, model, device="cpu", **options)


def rows(folder: str | Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return found


def test_boxes_are_those_of_the_predictor_and_a_bad_image_has_a_row_that_says_why() -> None:
    source, model = photos(), detector()
    done = label(opener(model), source, "labels.parquet", part_size=3, batch_size=2)
    assert (done.images, done.before, done.total, done.failed) == (7, 0, 7, 1)
    assert sorted(path.name for path in Path("labels.parquet").glob("part*")) == [
        f"part-00000{number}.parquet" for number in range(3)
    ]
    table = rows("labels.parquet")
    assert [row["file_name"] for row in table] == [f"{number}.png" for number in range(7)]
    bad = table.pop(2)
    assert "2.png" in bad.pop("error")
    assert [bad.pop("file_name"), set(bad.values())] == ["2.png", {None}]
    predictor = Predictor(model, device="cpu")
    for row in table:
        found = predictor(source / row["file_name"])
        assert (row["height"], row["width"], row["error"]) == (*found.size, None)
        assert len(found) > 0
        assert (row["labels"], row["names"]) == (found.labels.tolist(), found.names)
        np.testing.assert_allclose(row["boxes"], found.boxes, atol=1e-3)
        np.testing.assert_allclose(row["scores"], found.scores, atol=1e-5)


def test_the_metadata_say_what_labels_mean() -> None:
    import pyarrow.parquet as pq

    label(opener(detector()), photos(1), "labels.parquet")
    said = json.loads(pq.read_schema("labels.parquet/part-000000.parquet").metadata[b"mnv2dense"])
    assert (said["task"], said["class_names"], said["category_ids"]) == ("detection", ["0", "1", "2"], [1, 2, 3])


def test_masks_are_pngs_with_shares_and_classes_the_likeliest() -> None:
    source = photos(2)
    masks: DenseModel = deeplabv3_mobilenet_v2(class_names=("background", "crack"), width_mult=0.35, size=SIZE).eval()
    label(opener(masks), source, "masks.parquet")
    for row in rows("masks.parquet"):
        found = Predictor(masks, device="cpu")(source / row["file_name"])
        mask = np.asarray(Image.open(io.BytesIO(row["mask"])))
        assert (mask == found.labels.numpy()).all()
        assert dict(zip(row["names"], row["shares"], strict=True)) == pytest.approx(found.shares())

    names = [f"class {number}" for number in range(7)]
    classes: DenseModel = mobilenet_v2_classifier(class_names=names, width_mult=0.35, size=(32, 32)).eval()
    label(opener(classes), source, "classes.parquet")
    for row in rows("classes.parquet"):
        found = Predictor(classes, device="cpu")(source / row["file_name"]).top(5)
        assert row["names"] == found.names
        np.testing.assert_allclose(row["scores"], found.scores, atol=1e-5)


def test_the_heads_of_a_joint_model_have_a_struct_each() -> None:
    model = joint_model()
    label(opener(model), photos(1), "labels.parquet")
    (row,) = rows("labels.parquet")
    found = Predictor(model, device="cpu")("photos/0.png")
    assert set(row["heads"]) == set(found)
    assert row["heads"]["boxes"]["labels"] == found["boxes"].labels.tolist()
    assert (np.asarray(Image.open(io.BytesIO(row["heads"]["masks"]["mask"]))) == found["masks"].labels.numpy()).all()


def test_what_was_stopped_goes_on_with_the_parts_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    source, opened = photos(), opener(detector())
    label(opened, source, "whole.parquet", part_size=2)
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done == 5:  # inside of the third part
            raise KeyboardInterrupt

    stopped = label(opened, source, "labels.parquet", part_size=2, progress=stop)
    assert stopped.images == 4
    assert len(list(Path("labels.parquet").glob("part*"))) == 2
    Path("labels.parquet/part-000001.parquet").write_bytes(b"half of a file")
    first = Path("labels.parquet/part-000000.parquet").stat().st_mtime_ns
    Path("labels.parquet/.part-000002.parquet.12345.new").write_bytes(b"of a killed process")
    done = label(opened, source, "labels.parquet", part_size=2)
    assert (done.images, done.before, done.failed) == (7, 2, 1)
    assert rows("labels.parquet") == rows("whole.parquet")
    assert Path("labels.parquet/part-000000.parquet").stat().st_mtime_ns == first
    assert not list(Path("labels.parquet").glob(".*"))
    again = label(opened, source, "labels.parquet", part_size=2)
    assert (again.images, again.before, again.failed) == (7, 7, 1)


def test_a_start_that_was_killed_leaves_a_folder_to_begin_in_and_two_commands_do_not_share_one() -> None:
    source, opened = photos(1), opener(detector())
    Path("labels.parquet").mkdir()
    Path("labels.parquet/._labels.json.12345.new").write_bytes(b"{")
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(ValueError, match="another command is writing this table") as error:
                label(opened, source, "labels.parquet")
            refused.append(str(error.value))

    assert label(opened, source, "labels.parquet", progress=meanwhile).images == 1
    assert refused
    assert len(rows("labels.parquet")) == 1
    assert label(opened, source, "labels.parquet").before == 1


def test_labels_of_another_model_option_or_source_are_not_mixed() -> None:
    source = photos(3)
    label(opener(detector(), threshold=0.1), source, "labels.parquet")
    before = rows("labels.parquet")
    with pytest.raises(ValueError, match=r"not mixed. Changed since: threshold \(0.1 there, 0.2 now\)\. Run as before"):
        label(opener(detector(), threshold=0.2), source, "labels.parquet")
    with pytest.raises(ValueError, match=r"Changed since: the model's weights or structure\. "):
        label(opener(detector(seed=1), threshold=0.1), source, "labels.parquet")
    with pytest.raises(ValueError, match=r"Changed since: part_size \(1000 there, 2 now\)"):
        label(opener(detector(), threshold=0.1), source, "labels.parquet", part_size=2)
    Path("photos/2.png").rename("photos/3.png")
    with pytest.raises(ValueError, match="Changed since: the images' names or their order"):
        label(opener(detector(), threshold=0.1), source, "labels.parquet")
    assert rows("labels.parquet") == before


def test_what_is_no_table_is_left_alone() -> None:
    Path("labels.parquet").mkdir()
    Path("labels.parquet/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="is there already, and is no folder of labels"):
        label(opener(detector()), photos(1), "labels.parquet")
    assert [path.name for path in Path("labels.parquet").iterdir()] == ["mine.txt"]


def test_the_command_writes_the_table_and_ends_as_it_does_for_other_outputs() -> None:
    save_model(detector(), "detector.ckpt")
    words = ("checkpoint=detector.ckpt", f"source={photos()}", "threshold=0.05", "device=cpu")
    assert command("predict", *words, "run_dir=out", "outputs=[json]").code == 2
    outcome = command("predict", *words, "output=labels.parquet")
    assert outcome.code == 2
    assert "1 of 7 images could not be read; their rows say why in the column error" in outcome.err
    assert outcome.out.splitlines()[-1] == "labels.parquet"
    there = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
    table = [row for row in rows("labels.parquet") if row["error"] is None]
    assert [row["file_name"] for row in table] == [image["file_name"] for image in there["images"]]
    scores = [round(score, 5) for row in table for score in row["scores"]]
    np.testing.assert_allclose(scores, [found["score"] for found in there["annotations"]], atol=1e-5)
    assert sorted(path.name for path in Path().iterdir()) == ["detector.ckpt", "labels.parquet", "out", "photos"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("output=labels.csv",), "output=labels.csv: a table of labels is Parquet, as in output=labels.parquet"),
        (("engine=ray",), "engine=ray fills a table: name it, as in output=labels.parquet"),
        (("output=a.parquet", "engine=spark"), "engine=spark: choose one of plain, ray"),
        (("output=a.parquet", "run_dir=out"), "run_dir=out: a table of labels has no run folder"),
        (("output=a.parquet", "opacity=0.5"), "opacity=0.5 is of drawings, and a table of labels has none"),
        (("ray.workers=2",), "ray.workers=2 is of a table of labels"),
        (("output=a.parquet", "part_size=0"), "part_size=0: a whole number of at least 1"),
        (("output=a.parquet", "source=webcam:0"), "output= is of images that can be listed again"),
        (("output=a.parquet", "engine=ray", "ray.workers=0"), "ray.workers=0: a whole number of at least 1"),
        (("output=a.parquet", "ray.gpus=1"), "ray.gpus=1 is of workers of Ray: add engine=ray, or leave it out"),
    ],
)
def test_options_are_named_before_anything_is_made(options: tuple[str, ...], message: str) -> None:
    Image.new("RGB", (8, 8)).save("photo.png")
    outcome = command("predict", "checkpoint=shapes", "source=photo.png", "device=cpu", *options)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert [path.name for path in Path().iterdir()] == ["photo.png"]
