"""An exported file used without the project that wrote it: NumPy, Pillow and the file's runtime.

python sample.py detector.onnx photo.jpg out.png   what is in the picture, printed and drawn
python sample.py detector.onnx --exam              whether this program answers as the model did

Files: .onnx (pip install onnxruntime), .xml with its .bin (openvino), .tflite and .pte with their .json
(ai-edge-litert, executorch).
"""

from __future__ import annotations

import base64
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

LEAST_SCORE = 0.4
"""Of boxes that are shown; files keep far more, for scores of precision and recall."""

NEARER = 0.6
"""A fault is named whose answers are at least so much nearer than the right ones."""

Outputs = dict[str, np.ndarray]
"""Of one picture, by name."""


class Place(NamedTuple):
    """Where a picture lies in the input: input_xy = picture_xy * scale + offset, of the edges of pixels."""

    scale: np.ndarray
    offset: np.ndarray


# --- runtimes ---------------------------------------------------------------------------------------------------------


def open_file(path: Path) -> tuple[dict[str, Any], Callable[[np.ndarray], Outputs]]:
    """What a file says of itself, and a function from uint8 [1, 3, H, W] to its outputs."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        said = session.get_modelmeta().custom_metadata_map.get("mnv2dense")
        names = [output.name for output in session.get_outputs()]
        return described(path, said), lambda images: dict(
            zip(names, session.run(names, {"images": images}), strict=True)
        )
    if path.suffix == ".xml":
        import openvino

        model = openvino.Core().read_model(path)
        said = model.get_rt_info(["mnv2dense"]).astype(str) if model.has_rt_info(["mnv2dense"]) else None
        network = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return described(path, said), lambda images: {port.any_name: each for port, each in network([images]).items()}
    description = described(path, path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(str(path)).get_signature_runner()
        return description, lambda images: run(images=images)
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")
    names = {"boxes": ["boxes", "scores"], "selected_boxes": ["boxes", "scores", "labels"]}.get(
        description["outputs"], [description["outputs"]]
    )
    return description, lambda images: dict(
        zip(names, [each.numpy() for each in method.execute([torch.from_numpy(images)])], strict=True)
    )


def described(path: Path, said: str | None) -> dict[str, Any]:
    """What a file's json says."""
    if said is None:
        raise ValueError(f"{path}: was not written by tools/export.py")
    description: dict[str, Any] = json.loads(said)
    if description["task"] == "joint":
        raise ValueError(f"{path}: of several heads; this sample takes one")
    return description


# --- a picture in -----------------------------------------------------------------------------------------------------


def prepare(image: Image.Image, description: dict[str, Any]) -> tuple[np.ndarray, Place]:
    """An upright RGB picture -> uint8 [1, 3, H, W], and where it lies in that."""
    (height, width), mode = description["size"], description["resize"]
    inner, window = (width, height), (0, 0, image.width, image.height)
    if mode == "letterbox":
        factor = min(width / image.width, height / image.height)
        inner = tuple(min(side, max(1, round(own * factor))) for side, own in zip(inner, image.size, strict=True))
    elif mode == "crop":
        factor = max(width / image.width, height / image.height) / 0.875
        seen = [max(1, round(side / factor)) for side in inner]
        left, top = ((own - side) // 2 for own, side in zip(image.size, seen, strict=True))
        window = (left, top, left + seen[0], top + seen[1])
    corner = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    canvas = Image.new("RGB", (width, height), (127, 127, 127))
    # Across and then down, as the model's own resize; newer versions of Pillow choose the order by themselves.
    wide = image.crop(window).resize((inner[0], window[3] - window[1]), Image.Resampling.BILINEAR)
    canvas.paste(wide.resize(inner, Image.Resampling.BILINEAR), corner)
    scale = np.divide(inner, np.subtract(window[2:], window[:2]))
    planes = np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1)[None])
    return planes, Place(scale, corner - np.multiply(window[:2], scale))


# --- results out ------------------------------------------------------------------------------------------------------


def results_of(description: dict[str, Any], outputs: Outputs, size: tuple[int, int], place: Place) -> Any:  # noqa: ANN401 - by the task
    """In pixels of the picture, whose ``size`` is (width, height).

    Returns:
        Of a detector and a classifier [{"label", "score", "box"}], best first; of a segmentation uint8 [H, W].
    """
    form = description["outputs"]
    if form == "scores":
        scores = outputs["scores"][0]
        return [{"label": int(label), "score": float(scores[label])} for label in np.argsort(-scores, kind="stable")]
    if form == "logits":
        return likeliest(outputs["logits"][0], description, size, place)
    if form == "labels":
        across, down = (
            np.clip(((np.arange(pixels) + 0.5) * scale + offset).astype(int), 0, side - 1)
            for pixels, scale, offset, side in zip(size, *place, description["size"][::-1], strict=True)
        )
        return outputs["labels"][0][down][:, across]
    if form == "selected_boxes":
        boxes, scores, labels = (outputs[name][0] for name in ("boxes", "scores", "labels"))
        boxes, scores, labels = boxes[labels >= 0], scores[labels >= 0], labels[labels >= 0]
    else:
        pairs = outputs["scores"][0].T if form == "nms_node" else outputs["scores"][0]
        boxes, scores, labels = selected(outputs["boxes"][0], pairs, **description["selection"])
    corners = ((boxes.reshape(-1, 2, 2) - place.offset) / place.scale).clip(0, size).reshape(-1, 4)
    return [
        {"label": int(label), "score": float(score), "box": box}
        for label, score, box in zip(labels, scores, corners.tolist(), strict=True)
    ]


def selected(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    score_threshold: float,
    nms_threshold: float,
    candidates: int,
    limit: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Threshold and suppression: boxes [A, 4] and scores [A, K] -> boxes [N, 4], scores [N], labels [N]."""
    order = np.argsort(-scores, axis=None, kind="stable")[:candidates]
    order = order[scores.ravel()[order] >= score_threshold]
    anchors, labels = np.divmod(order, scores.shape[1])
    boxes, scores = boxes[anchors], scores.ravel()[order]
    kept: list[int] = []
    left = np.arange(len(order))
    while len(left) and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[(labels[left] != labels[best]) | (iou(boxes[best], boxes[left]) <= nms_threshold)]
    return boxes[kept], scores[kept], labels[kept]


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with boxes [N, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (box, others)]
    return shared / (areas[0] + areas[1] - shared)


def likeliest(logits: np.ndarray, description: dict[str, Any], size: tuple[int, int], place: Place) -> np.ndarray:
    """Logits [K, h, w], upsampled to the picture -> the class of every pixel."""
    grid, sides = logits.shape[:0:-1], description["size"][::-1]

    def between(axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = (np.arange(size[axis]) + 0.5) * place.scale[axis] + place.offset[axis]
        if description["selection"]["align_corners"]:
            at = (at - 0.5) * (grid[axis] - 1) / max(1, sides[axis] - 1)
        else:
            at = at * grid[axis] / sides[axis] - 0.5
        at = at.clip(0, grid[axis] - 1)
        low = at.astype(int)
        return low, np.minimum(low + 1, grid[axis] - 1), (at - low).astype(np.float32)

    (left, right, share_x), (upper, lower, share_y) = between(0), between(1)
    best = np.full(size[::-1], -np.inf, np.float32)
    labels = np.zeros(size[::-1], np.uint8)
    for label, cells in enumerate(logits):  # one class at a time: all of a large picture would be gigabytes
        wide = cells[:, left] + share_x * (cells[:, right] - cells[:, left])
        values = wide[upper] + share_y[:, None] * (wide[lower] - wide[upper])
        labels[values > best] = label
        np.maximum(best, values, out=best)
    return labels


def drawn(image: Image.Image, description: dict[str, Any], results: Any) -> Image.Image:  # noqa: ANN401 - by the task
    """The picture with its results."""
    names, palette = description["class_names"], description["selection"].get("palette")
    side = math.sqrt(image.width * image.height)
    font = ImageFont.load_default(max(10, side / 30))

    def color(label: int) -> tuple[int, ...]:
        hues = [2 * math.pi * (0.618 * label + channel / 3) for channel in range(3)]
        return tuple(palette[label] if palette else (round(127.5 + 127.5 * math.cos(hue)) for hue in hues))

    if description["task"] == "segmentation":
        overlay = np.array([color(label) for label in range(len(names))], np.uint8)[results]
        shown = ~np.isin(results, [label for label, name in enumerate(names) if name == "background"])
        mask = Image.fromarray(np.where(shown, 128, 0).astype(np.uint8))
        image = Image.composite(Image.fromarray(overlay), image, mask)
        tags = [(int(label), names[label], None) for label in np.unique(results) if names[label] != "background"]
    else:
        found = results if description["task"] == "detection" else results[:3]
        tags = [(each["label"], f"{names[each['label']]} {each['score']:.2f}", each.get("box")) for each in found]
    pen = ImageDraw.Draw(image)
    row = 0.0
    for label, text, box in reversed(tags) if description["task"] == "detection" else tags:
        if box:
            pen.rectangle(box, outline=color(label), width=max(1, round(side / 220)))
        extent = pen.textbbox((0, 0), text, font)
        left, top = (box[0], max(0, box[1] - extent[3])) if box else (0, row)
        ink = "black" if np.dot(color(label), (0.3, 0.6, 0.1)) > 127 else "white"
        pen.rectangle((left, top, left + extent[2] + 4, top + extent[3]), fill=color(label))
        pen.text((left + 2, top), text, ink, font)
        row += extent[3]
    return image


# --- the exam ---------------------------------------------------------------------------------------------------------


def examine(description: dict[str, Any], run: Callable[[np.ndarray], Outputs]) -> bool:
    """Print how far this program is from the model on the pictures that the file carries; whether it is near enough."""
    exam = description.get("exam")
    if not exam:
        raise ValueError("the file carries no exam; export it again")
    if not exam["at"]:
        raise ValueError(
            "the file selects boxes itself, and this exam is of numbers: take tools/check.py, or export without nms"
        )
    worst = 0.0
    pictures = exam["pictures"]
    found: dict[str, list[np.ndarray]] = {name: [] for name in exam["at"]}
    for asked in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(asked["png"]))).convert("RGB")
        planes, _ = prepare(image, description)
        worst = max(worst, float(np.abs(means_of(planes[0]) - asked["input"]).max()))
        outputs = run(planes)
        for name, places in exam["at"].items():
            found[name].append(outputs[name][0].ravel()[places].astype(np.float64))

    def kept(answers: Callable[[dict[str, Any]], Any]) -> Outputs:
        return {name: np.array([answers(asked)[name] for asked in pictures], np.float64) for name in exam["at"]}

    ours, right = {name: np.stack(each) for name, each in found.items()}, kept(lambda asked: asked["answers"])
    compared = [(ours, exam["limits"])]
    if "own_limits" in exam:  # rounding to int8 moves answers far, but to the same place everywhere
        compared.append((less_rounding(ours, kept(lambda asked: asked["own"]), right), exam["own_limits"]))
    answers, limits = compared[-1]
    checks = {"input": (worst, 2.0)} | {name: (apart(answers, right, right, name), limits[name]) for name in ours}
    for name, (error, limit) in checks.items():
        print(f"{name:8} {error:.2g} from the model's, {limit} is allowed{': WRONG' if error > limit else ''}")
    passed = all(error <= limit for error, limit in checks.values())
    if not passed:
        names = pictures[0]["otherwise"]
        faults = {fault: kept(lambda asked, fault=fault: asked["otherwise"][fault]) for fault in names}
        # A gross fault changes what rounding does, so answers as they are tell it; a small one is told without that.
        causes = filter(None, (nearest(answers, right, faults, limits) for answers, limits in compared))
        print(f"likely cause: {next(causes, 'none that the exam knows')}")
    print("passed" if passed else "failed")
    return passed


def less_rounding(ours: Outputs, own: Outputs, right: Outputs) -> Outputs:
    """Answers without what rounding had changed when the file was written and answered ``own``."""
    answers = {name: ours[name] - own[name] + right[name] for name in ours}
    if "labels" in ours:
        answers["labels"] = np.where(ours["labels"] == own["labels"], right["labels"], ours["labels"])
    return answers


def apart(ours: Outputs, theirs: Outputs, right: Outputs, name: str) -> float:
    """Of labels the share that differs; of numbers the distance, as a share of how right ones lie about their mean."""
    if name == "labels":
        return float(np.mean(ours[name] != theirs[name]))
    return float(np.linalg.norm(ours[name] - theirs[name]) / (np.linalg.norm(right[name] - right[name].mean()) or 1.0))


def nearest(ours: Outputs, right: Outputs, faults: dict[str, Outputs], limits: dict[str, float]) -> str:
    """The fault whose answers are clearly nearer than the right ones, each output by its limit; "" where none is."""

    def combined(theirs: Outputs) -> float:
        return math.hypot(*(apart(ours, theirs, right, name) / max(limits[name], 1e-6) for name in ours))

    distances = {fault: combined(answers) for fault, answers in faults.items()}
    fault = min(distances, key=distances.__getitem__, default="")
    return fault if fault and distances[fault] < NEARER * combined(right) else ""


def means_of(planes: np.ndarray) -> np.ndarray:
    """uint8 [3, H, W] -> means of 8 x 8 equal parts, [3, 8, 8]."""
    rows, columns = ([side * part // 8 for part in range(9)] for side in planes.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(planes.astype(float), rows[:-1], axis=1), columns[:-1], axis=2)
    return sums / np.outer(np.diff(rows), np.diff(columns))


def main(file: str, photo: str, target: str = "") -> int:
    """Run; the exit code."""
    description, run = open_file(Path(file))
    if photo == "--exam":
        return 0 if examine(description, run) else 1
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    planes, place = prepare(image, description)
    results = results_of(description, run(planes), image.size, place)
    names = description["class_names"]
    if description["task"] == "detection":
        results = [each for each in results if each["score"] >= LEAST_SCORE]
    if description["task"] == "segmentation":
        for label, count in zip(*np.unique(results, return_counts=True), strict=True):
            print(f"{names[label]} {count / results.size:.1%}")
    else:
        for each in results if description["task"] == "detection" else results[:3]:
            box = "  " + " ".join(f"{side:.1f}" for side in each["box"]) if "box" in each else ""
            print(f"{names[each['label']]} {each['score']:.3f}{box}")
    drawn(image, description, results).save(target)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or (sys.argv[2] != "--exam" and len(sys.argv) < 4):
        sys.exit("python sample.py detector.onnx photo.jpg out.png\npython sample.py detector.onnx --exam")
    try:
        sys.exit(main(*sys.argv[1:4]))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
