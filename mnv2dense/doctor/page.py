"""A diagnosis for people and for programs: doctor.html, which stands alone, and doctor.json with every suspect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mnv2dense
from mnv2dense.doctor.drawings import Drawings
from mnv2dense.doctor.examination import Diagnosis
from mnv2dense.doctor.facts import SplitFacts
from mnv2dense.doctor.suspect import Suspect
from mnv2dense.protocols import Dataset
from mnv2dense.reporting.inline import jpeg_uri
from mnv2dense.reporting.page_templates import page_templates
from mnv2dense.utils.files import atomic_write

# Of each kind so many are drawn and so many listed on the page; the json has all. The page has 8 MB at most.
_MOST_DRAWN, _MOST_LISTED = 12, 60
_IMAGE_WIDTH, _IMAGE_BYTES = 620, 36_000

_MOST_CLASSES = 40


def write_page(folder: Path, diagnosis: Diagnosis, splits: Mapping[str, Dataset]) -> Path:
    """Write doctor.html into a folder; the images are read once more where they are drawn.

    Returns:
        Its path.
    """
    templates = page_templates(Path(__file__).parent / "templates")
    templates.filters |= {"percent": lambda value: f"{100 * value:.1f}%", "name": lambda path: Path(path).name}
    drawings = Drawings(splits)
    by_kind: dict[str, list[Suspect]] = {}
    for suspect in diagnosis.suspects:
        by_kind.setdefault(suspect.kind, []).append(suspect)
    sections = [
        (finding, _drawn(by_kind[finding.kind][:_MOST_DRAWN], drawings), by_kind[finding.kind][:_MOST_LISTED])
        for finding in diagnosis.findings
        if finding.kind in by_kind
    ]
    content = {
        "diagnosis": diagnosis,
        "sections": sections,
        "classes": _class_rows(diagnosis),
        "histograms": [(fact.name, _histograms(fact)) for fact in diagnosis.facts],
        "is_masks": any(0 < sum(fact.class_counts) <= 1.001 for fact in diagnosis.facts),
        "version": mnv2dense.__version__,
    }
    path = folder / "doctor.html"
    with atomic_write(path) as file:
        file.write(templates.get_template("doctor.html").render(content).encode(errors="backslashreplace"))
    return path


def write_json(folder: Path, diagnosis: Diagnosis) -> Path:
    """Write doctor.json into a folder: ``findings``, every suspect under ``suspects``, and the counts.

    Returns:
        Its path.
    """
    content = {
        "mnv2dense": mnv2dense.__version__,
        "data": diagnosis.name,
        "task": diagnosis.task,
        "class_names": diagnosis.class_names,
        "seconds": round(diagnosis.seconds, 2),
        "findings": [finding._asdict() for finding in diagnosis.findings],
        "suspects": [suspect._asdict() for suspect in diagnosis.suspects],
        "splits": [fact._asdict() for fact in diagnosis.facts],
        "inputs": {
            name: {"stride": each.stride, "advised": each.advised, "sizes": [row._asdict() for row in each.rows]}
            for name, each in diagnosis.inputs.items()
        },
    }
    path = folder / "doctor.json"
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1).encode())
    return path


def _drawn(suspects: list[Suspect], drawings: Drawings) -> list[tuple[Suspect, str]]:
    found = []
    for suspect in suspects:
        picture = drawings.draw(suspect)
        if picture is not None:
            found.append((suspect, jpeg_uri(picture, width=_IMAGE_WIDTH, most_bytes=_IMAGE_BYTES)))
    return found


def _class_rows(diagnosis: Diagnosis) -> list[tuple[str, list[tuple[int, float]]]]:
    """Of each class, name and (images, objects or share of pixels) in each split; the most frequent and the rarest."""
    facts = [fact for fact in diagnosis.facts if len(fact.class_images) == len(diagnosis.class_names)]
    if not facts:
        return []
    rows = [
        (name, [(fact.class_images[k], fact.class_counts[k]) for fact in facts])
        for k, name in enumerate(diagnosis.class_names)
    ]
    rows.sort(key=lambda row: -row[1][0][1])
    if len(rows) <= _MOST_CLASSES:
        return rows
    return [*rows[: _MOST_CLASSES // 2], *rows[-_MOST_CLASSES // 2 :]]


def _histograms(fact: SplitFacts) -> list[dict[str, Any]]:
    """Title, unit, ends and heights (0..1, and in words) of the bars of each."""
    found = []
    for title, unit, bars in (
        ("Images: width / height", "", fact.aspects),
        ("Objects: root of the area", " px", fact.sides),
        ("Objects: width / height", "", fact.box_aspects),
    ):
        if sum(count > 0 for *_, count in bars) < 2:  # all are alike, which the sizes say
            continue
        most = max(count for *_, count in bars)
        found.append(
            {
                "title": title,
                "low": f"{bars[0][0]:.3g}{unit}",
                "high": f"{bars[-1][1]:.3g}{unit}",
                "bars": [
                    (f"{100 * count / most:.1f}", f"{start:.3g} to {end:.3g}{unit}: {count:,}")
                    for start, end, count in bars
                ],
            }
        )
    return found
