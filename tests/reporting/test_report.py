"""The model card and the report of a run: what they say, and that they are safe to open and to send."""

from __future__ import annotations

import html.parser
import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import yaml
from PIL import Image

from mnv2dense.data.shapes.detection import draw_shapes
from mnv2dense.reporting.errors import Case, Cause, HeadErrors, Table
from mnv2dense.reporting.facts import ClassScore, RunFacts, Score
from mnv2dense.reporting.report import write_report
from mnv2dense.reporting.usage import Usage
from tests.helpers.tiny import TINY, command

# Of the tasks, those whose runs only the second stage of CI makes.
OTHERS = ("classification", "segmentation")

EVIL = '<script>alert("x")</script>|`a`'


def facts(**changes: object) -> RunFacts:
    return RunFacts(
        **{
            "task": "detection",
            "trained": True,
            "checkpoint": "runs/detection/1",
            "name": "MobileNetV2 1 SSDLite",
            "size": (320, 320),
            "class_names": (EVIL, "cat"),
            "data": (("source", EVIL), ("val images", "7")),
            "data_name": "VocDetection",
            "drawn_data": False,
            "scores": (Score("AP", 0.25, "IoU 0.50:0.95"), Score("APs", None, "area < 32")),
            "score_of_classes": "AP",
            "counted": "objects",
            "classes": (ClassScore(EVIL, 0.25, 12), ClassScore("cat", None, 0)),
            "image_meaning": "F1",
            "costs": (("parameters", "1,000"),),
            "usage": Usage(("python tools/predict.py checkpoint=runs/detection/1 source=a.jpg",), "import mnv2dense"),
            "command": "python tools/train.py data.root='a & b'",
            "environment": (("seed", "0"),),
            "limits": (f"It is weak on {EVIL}.",),
            "license": "unknown",
            **changes,
        }
    )


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.images = 0
        self.images_in: Counter[str] = Counter()  # by the class of their section
        self._section = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs).get("class") or ""
        if tag == "img":
            self.images += 1
            self.images_in.update([self._section] if self._section else [])

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def check(self) -> None:
        """That it stands alone, and can be read by those who do not see it."""
        tags = [tag for tag, _ in self.tags]
        assert "script" not in tags
        assert "link" not in tags
        assert tags.count("h1") == 1
        for tag, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")]
            if tag == "img":
                assert str(attributes["src"]).startswith("data:image/")
                assert attributes["alt"]
            if tag == "th":
                assert attributes["scope"] in ("row", "col")


def noise(seed: int, height: int = 700, width: int = 1400) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def front_matter(folder: Path) -> dict[str, Any]:
    _, head, _ = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").split("---\n", 2)
    content: dict[str, Any] = yaml.safe_load(head)
    return content


def test_names_of_classes_and_files_are_text_and_never_markup(tmp_path: Path) -> None:
    write_report(tmp_path, facts(), worst=[(f"{EVIL}.jpg", 0.1, noise(0, 40, 80))])
    page = Page(tmp_path / "report.html")
    page.check()
    assert page.text.count(EVIL) == 4  # a class, a limit, the data's source, an image
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "<script" not in card
    assert '&lt;script&gt;alert("x")&lt;/script&gt;\\|\\`a\\` | 0.250 | 12 |' in card


@pytest.mark.parametrize("has_numbers", [True, False])
def test_the_curves_numbers_are_told_of_where_a_logger_wrote_them(has_numbers: bool, tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_bytes(b"a plot")
    if has_numbers:
        (tmp_path / "csv").mkdir()
    write_report(tmp_path, facts())
    text = Page(tmp_path / "report.html").text
    assert "Losses and scores over the epochs." in text
    assert ("folder csv" in text) == has_numbers


def test_the_numbers_from_before_a_resume_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "curves.png").write_bytes(b"a plot")
    for name in ("csv", "csv_1", "csv_2"):
        (tmp_path / name).mkdir()
    write_report(tmp_path, facts())
    text = Page(tmp_path / "report.html").text
    assert "in the folder csv, those from before it was resumed in csv_1, csv_2." in text


def errors_of(name: str, *, causes: int = 6, cases: int = 4) -> HeadErrors:
    """Of one head, with as many pictures as there can be."""
    shown = tuple(
        Cause(EVIL, EVIL, 0.1, 5, EVIL, tuple(Case(EVIL, noise(9 * k + j, 320, 320)) for j in range(cases)))
        for k in range(causes)
    )
    table = Table(EVIL, ("class", "AP50"), ((EVIL, "0.1"),))
    return HeadErrors(name, (EVIL,), shown, "AP50", "boxes", EVIL, (table,), (("errors.png", EVIL, EVIL),), {})


def test_what_went_wrong_is_text_and_its_pictures_can_be_read(tmp_path: Path) -> None:
    Image.fromarray(noise(0, 20, 20)).save(tmp_path / "errors.png")
    write_report(tmp_path, facts(), errors=[errors_of("", causes=2, cases=1)])
    page = Page(tmp_path / "report.html")
    page.check()
    assert "What went wrong" in page.text
    assert page.images_in["errors"] == 3
    assert "--color" not in (tmp_path / "report.html").read_text(encoding="utf-8").partition("</style>")[2]
    write_report(tmp_path, facts(), errors=[])
    assert "What went wrong" not in Page(tmp_path / "report.html").text


def test_masks_among_what_went_wrong_have_a_legend(tmp_path: Path) -> None:
    Image.fromarray(noise(0, 20, 20)).save(tmp_path / "errors.png")
    shown = replace(errors_of("", causes=1, cases=1), legend=(("sky <1>", (0, 128, 255)),))
    write_report(tmp_path, facts(), errors=[shown])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<li><i style="--color: #0080ff"></i>sky &lt;1&gt;</li>' in text


def test_several_heads_have_a_section_and_files_each(tmp_path: Path) -> None:
    for name in ("boxes", "masks"):
        (tmp_path / name).mkdir()
        Image.fromarray(noise(0, 20, 20)).save(tmp_path / name / "errors.png")
    write_report(tmp_path, facts(), errors=[errors_of("boxes", causes=1, cases=1), errors_of("masks", causes=0)])
    page = Page(tmp_path / "report.html")
    page.check()
    assert "What went wrong: boxes" in page.text
    assert "What went wrong: masks" in page.text


def test_the_heaviest_images_make_a_light_page(tmp_path: Path) -> None:
    Image.fromarray(noise(0, 20, 20)).save(tmp_path / "errors.png")
    Image.fromarray(noise(9, 3000, 2800)).save(tmp_path / "samples.jpg")
    write_report(
        tmp_path,
        facts(),
        worst=[(f"{k}.jpg", 0.0, noise(k)) for k in range(4)],
        best=[(f"{k}.jpg", 1.0, noise(k)) for k in range(4, 8)],
        errors=[errors_of("")],
    )
    assert (tmp_path / "report.html").stat().st_size < 2_500_000


def test_the_front_matter_says_what_the_hub_asks_for(tmp_path: Path) -> None:
    write_report(tmp_path, facts())
    content = front_matter(tmp_path)
    assert content["license"] == "unknown"
    assert content["pipeline_tag"] == "object-detection"
    assert content["library_name"] == "mnv2dense"
    assert content["tags"] == ["mnv2dense", "mobilenetv2", "pytorch", "detection"]
    assert content["metrics"] == ["mean_average_precision"]
    (result,) = content["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "mean_average_precision", "name": "AP", "value": 0.25}]


def test_a_model_on_another_backbone_is_not_sorted_with_mobilenets(tmp_path: Path) -> None:
    write_report(tmp_path, facts(name="ToyNet SSDLite"))
    assert front_matter(tmp_path)["tags"] == ["mnv2dense", "pytorch", "detection"]


def test_the_hub_understands_the_front_matter(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    write_report(tmp_path, facts())
    data = hub.ModelCard.load(tmp_path / "MODEL_CARD.md").data
    assert data.model_name == "MobileNetV2 1 SSDLite"
    assert [(row.metric_name, row.metric_value) for row in data.eval_results] == [("AP", 0.25)]


def test_of_a_thousand_classes_the_card_has_the_best_and_the_worst(tmp_path: Path) -> None:
    classes = tuple(ClassScore(f"class {k}", k / 1000, 5) for k in range(1000))
    write_report(tmp_path, facts(classes=classes))
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.count("| class ") == 1 + 40
    assert "| class 999 | 0.999 | 5 |" in card
    assert "| class 0 | 0.000 | 5 |" in card
    assert Page(tmp_path / "report.html").text.count("class ") >= 1000


def test_without_a_metric_that_tells_of_classes_or_images_there_is_still_a_report(tmp_path: Path) -> None:
    write_report(tmp_path, facts(classes=(), counted="", score_of_classes="", limits=(), scores=()))
    Page(tmp_path / "report.html").check()
    assert "None were found" in (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "model-index" not in front_matter(tmp_path)


# --- whole runs --------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("place")


def fences(card: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```$", card.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_lines(card: Path, *names: str) -> None:
    """The card's own commands, as they stand but for the tools' folder; of those only the ones named."""
    lines = [shlex.split(line) for line in fences(card, "bash")[0].splitlines()]
    tools = {Path(words[1]).stem: words[2:] for words in lines}
    assert set(names) <= set(tools)
    for name in names:
        outcome = command(name, *tools[name])
        assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("task", ["detection", *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_a_run_tells_how_it_went_and_its_commands_work_as_they_stand(task: str, tmp_path: Path) -> None:
    outcome = command("train", f"task={task}", *TINY, "run_dir='my run, 1'")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "my run, 1"
    scores = json.loads((folder / "metrics.json").read_text())
    page = Page(folder / "report.html")
    page.check()
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    headline = {"detection": "AP", "classification": "top1", "segmentation": "mIoU"}[task]
    for text in (page.text, card):
        assert f"{scores[headline]:.3f}" in text
        assert "drawn shapes" in text
        assert "It learnt from only " in text
    # Two plots, the samples, four of the worst and four of the best, beside what went wrong; of boxes the thresholds,
    # if anything is right.
    thresholds = page.text.count("F1 of each class on the right")
    plain = page.images - sum(page.images_in.values())
    assert plain == 11 + thresholds
    assert page.images_in["errors"] >= 1
    assert ("Thresholds" in page.text) == (task == "detection")
    assert front_matter(folder)["license"] == "apache-2.0"
    run_lines(folder / "MODEL_CARD.md", "predict", "evaluate")
    exec(compile(fences(folder / "MODEL_CARD.md", "python")[0], "card", "exec"), {})


def test_a_class_may_be_called_anything_and_training_on_what_is_scored_is_said(tmp_path: Path) -> None:
    data = draw_shapes(tmp_path / "shapes", train=1, val=3, size=64)
    path = data / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace('"circle"', json.dumps(EVIL)))
    options = [option for option in TINY if "_images" not in option]
    where = ("data=coco", f"data.root={data}", "data.train_split=val", "data.val_split=val")
    outcome = command("train", *options, *where, "data.batch_size=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    page = Page(tmp_path / "run" / "report.html")
    page.check()
    assert EVIL in page.text
    assert "It was scored on the images that it learnt from" in page.text
    assert "<script" not in (tmp_path / "run" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert front_matter(tmp_path / "run")["license"] == "unknown"


def test_an_evaluation_has_both_too(tmp_path: Path) -> None:
    outcome = command("evaluate", "checkpoint=shapes", "data=shapes", "data.val_images=8", "data.train_images=16",
                      "data.num_workers=0", "run_dir=scores")  # fmt: skip
    assert outcome.code == 0, outcome.err
    page = Page(tmp_path / "scores" / "report.html")
    page.check()
    assert "shapes, scored on drawn shapes val" in " ".join(page.text.split())
    assert front_matter(tmp_path / "scores")["license"] == "apache-2.0"  # as the shipped weights say
    assert "It learnt from" not in page.text
    card = (tmp_path / "scores" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for text in (page.text, card):
        assert re.search(r"\d+\.\d% of the boxes in up to 500 val images can have an anchor of their own at IoU", text)
        assert re.search(r"\(F1, at IoU 0\.5\) are best at threshold=0\.\d\d, where F1 is 0\.\d{3}\.", text)
    run_lines(tmp_path / "scores" / "MODEL_CARD.md", "predict")
