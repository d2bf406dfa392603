from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from mnv2dense.data.datasets import MaskFolder, VocDetection
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.workflows import examine_data
from tests.data.datasets.test_voc import voc_object, write
from tests.doctor.test_looks import photo
from tests.doctor.test_odd_masks import NAMES, folder


def test_everything_found_is_in_the_json_and_the_page_shows_the_surest(tmp_path: Path) -> None:
    boxes = (
        voc_object(corners=(5, 5, 40, 40)) + voc_object(corners=(6, 5, 40, 40)) + voc_object("dog", (60, 40, 70, 48))
    )
    root = write(tmp_path / "data", {f"{place:06}": boxes for place in range(30)})
    for place in range(30):
        Image.fromarray(photo(48, 64, seed=place)).save(root / "JPEGImages" / f"{place:06}.jpg", quality=95)
    (root / "JPEGImages" / "000029.jpg").write_bytes(b"")
    (root / "JPEGImages" / "000028.jpg").write_bytes((root / "JPEGImages" / "000001.jpg").read_bytes())
    data = VocDetection(root=root, bad_images="keep")
    more = [Suspect("wrong class", str(data.paths[3]), 3, 0.8, "<b>a cat</b>", (5, 5, 40, 40), "cat", "dog")]
    told_of: list[int] = []

    def search(groups: np.ndarray) -> list[Suspect]:
        told_of.extend(groups.tolist())
        return more

    done = examine_data({"train": data}, tmp_path / "out", name="<script>", search=search)
    assert len(set(told_of)) == 29, "28 is a copy of 1"
    assert told_of[28] == told_of[1]
    kinds = {finding.kind: finding for finding in done.diagnosis.findings}
    assert {"broken image", "duplicate", "doubled box", "odd box", "wrong class"} <= set(kinds)
    assert kinds["doubled box"].number == 30
    assert done.diagnosis.findings[0].kind == "broken image"

    told = json.loads(done.json.read_text())
    suspects = [Suspect(**each) for each in told["suspects"]]
    known = [{**each._asdict(), "box": each.box and list(each.box)} for each in done.diagnosis.suspects]
    assert told["suspects"] == known
    assert told["splits"][0]["images"] == 30
    assert told["splits"][0]["unreadable"] == 1
    (wrong,) = (each for each in suspects if each.kind == "wrong class")
    assert (wrong.label, wrong.proposed, wrong.image_id) == ("cat", "dog", 3)

    page = done.page.read_text()
    assert "<script" not in page
    assert "&lt;b&gt;a cat&lt;/b&gt;" in page
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    assert page.count("covers another cat") == 12 * 2 + 30  # drawn with its caption, and listed
    assert 12 < len(pictures) <= 12 * len(kinds)
    assert max(map(len, pictures)) < 50_000
    for finding in done.diagnosis.findings:
        assert page.count(finding.next_step.replace("'", "&#39;")) >= 1


def test_a_data_set_without_a_fault_says_so(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {f"{place:06}": voc_object(corners=(5, 5, 40, 40)) for place in range(25)})
    for place in range(25):
        picture = photo(48, 64, seed=place)
        Image.fromarray(picture).save(root / "JPEGImages" / f"{place:06}.jpg", quality=95)
        text = (root / "Annotations" / f"{place:06}.xml").read_text()
        (root / "Annotations" / f"{place:06}.xml").write_text(text.replace("<xmin>5", f"<xmin>{5 + place}"))
    data = VocDetection(root=root, class_names=["cat"], bad_images="keep")
    done = examine_data({"val": data}, tmp_path / "out")
    assert done.diagnosis.findings == ()
    assert "Nothing suspect was found." in done.page.read_text()


def test_an_odd_mask_is_drawn_beside_its_image(tmp_path: Path) -> None:
    data = folder(tmp_path)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 3, (40, 60)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "trainannot" / "05.png")
    done = examine_data({"train": MaskFolder(root=tmp_path, split="train", class_names=NAMES)}, tmp_path / "out")
    (suspect,) = (each for each in done.diagnosis.suspects if each.kind == "odd mask")
    assert Path(suspect.image).stem == "05"
    assert "data:image/jpeg" in done.page.read_text()
    assert len(data) == 20


def test_a_search_that_is_stopped_leaves_the_page_of_what_was_found_before(tmp_path: Path) -> None:
    def search(groups: np.ndarray) -> NoReturn:
        assert (tmp_path / "out" / "doctor.html").is_file()
        raise KeyboardInterrupt

    data = VocDetection(root=write(tmp_path / "data", {"000001": voc_object()}))
    with pytest.raises(KeyboardInterrupt):
        examine_data({"train": data}, tmp_path / "out", search=search)
    assert (tmp_path / "out" / "doctor.json").is_file()
