"""compare.html, compare.json and compare.csv."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mnv2dense.reporting.compare_page import Picture, write_compare_page
from mnv2dense.reporting.comparison import Comparison, Cost, Difference, Row, Side

NAN = float("nan")


def comparison(classes: int = 2) -> Comparison:
    sides = (
        Side("A", ("runs/<a>", "runs/b"), ("<a>", "b"), (0, 1), (0.5, 0.52)),
        Side("B", ("model.onnx",), ("model.onnx",), (None,), (0.55,)),
    )
    differing = Difference(0.04, 0.02, 0.06)
    rows = (
        Row("AP", "IoU 0.50:0.95", (0.51, 0.55), (0.014, None), (differing,)),
        Row("APs", "small objects", (None, 0.1), (None, None), (None,)),
        Row("AP50", "IoU 0.50", (0.7, 0.7), (NAN, None), (Difference(0.0, NAN, NAN),)),
    )
    of_classes = tuple(
        Row(f"AP/{k}", "", (0.4, 0.5), (0.01, None), (Difference(0.1, 0.05, 0.15, marked=k == 0),), 12)
        for k in range(classes)
    )
    return Comparison(
        task="detection", data="VOC 2007 val", images=1000, draws=500, score="AP", sides=sides,
        verdicts=("B is better than A by 0.040 AP [0.020, 0.060].",), notes=("A note.",), rows=rows, classes=of_classes,
        options=(("augment.flip", ("0.5", None)),),
        costs=(Cost(3_000_000, 500_000_000, 12.0, 10.0, (320, 320)), Cost(None, None, 3.1, None, (256, 416))),
        timed="in turns",
    )  # fmt: skip


def page(folder: Path, **options: int) -> str:
    drawn = np.zeros((40, 90, 3), np.uint8)
    pictures = [("B better than A", [Picture("1<.jpg", (("A", 0.1), ("B", 0.9)), drawn)])]
    write_compare_page(folder, comparison(**options), pictures=pictures, legend=[("road", (1, 2, 3))])
    return (folder / "compare.html").read_text(encoding="utf-8")


def test_the_page_is_whole_and_nobody_s_name_is_markup(tmp_path: Path) -> None:
    text = page(tmp_path)

    class Parser(HTMLParser):
        open_: list[str] = []  # noqa: RUF012 - of one page

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img", "br"):
                self.open_.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open_.pop() == tag

    parser = Parser()
    parser.feed(text)
    assert parser.open_ == []
    assert "runs/&lt;a&gt;" in text
    assert "1&lt;.jpg" in text
    assert '<td class="number">320 x 320</td><td class="number">256 x 416</td>' in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<h1>B is better than A by 0.040 AP [0.020, 0.060].</h1>" in text


def test_bars_lie_on_the_scale_of_their_table_and_unknown_ones_nowhere(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "--low: 66." in text  # 0.02 of 0.06 to the right of the middle
    assert "--high: 100.0%" in text
    assert text.count("<b></b></span>") == 3  # AP and two classes; nothing where there is no interval
    assert text.count('class="marked"') == 1
    assert "+nan" not in text


def test_many_classes_are_folded(tmp_path: Path) -> None:
    assert "<details>" not in page(tmp_path, classes=30)
    assert "<details><summary>31 classes</summary>" in page(tmp_path, classes=31)


def test_json_has_everything_and_csv_a_line_for_each_score_and_side(tmp_path: Path) -> None:
    comparison().write(tmp_path)
    told = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    assert told["sides"][0]["seeds"] == [0, 1]
    assert told["rows"][2]["differences"] == [{"value": 0.0, "low": None, "high": None, "marked": False}]
    with (tmp_path / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5
    assert rows[1] == {
        "score": "AP", "side": "B", "runs": "model.onnx", "value": "0.55", "spread_over_seeds": "",
        "difference": "0.04", "low": "0.02", "high": "0.06", "marked": "0", "images": "",
    }  # fmt: skip
    assert (rows[6]["score"], rows[6]["difference"], rows[6]["images"]) == ("AP/0", "", "12")
    assert (rows[5]["difference"], rows[5]["low"], rows[5]["high"]) == ("0.0", "", "")  # no interval is known


@pytest.mark.parametrize(
    ("low", "high", "excludes"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.2, False), (0.0, 1.0, False)]
)
def test_an_interval_excludes_nought_where_it_lies_on_one_side(low: float, high: float, excludes: bool) -> None:
    assert Difference(0.1, low, high).excludes_zero == excludes
