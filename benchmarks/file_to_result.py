r"""From a JPEG to its result beside the bare network and beside what others use, in one process and in turns.

    python tools/export.py checkpoint=deeplabv3_mobilenet_v2_1.0_513 exporter=openvino precision=int8 \
        calibration=photos output=deeplab.xml
    python benchmarks/file_to_result.py --images photos --deeplab deeplab.xml --official official.tflite
    python benchmarks/file_to_result.py --images photos --ssdlite ssdlite.xml
    python benchmarks/file_to_result.py --images photos --official official.tflite --networks deeplab.pte ssdlite.tflite
    python benchmarks/file_to_result.py --images photos --weights deeplabv3_mobilenet_v2_1.0_513 --equal 500
    python benchmarks/file_to_result.py --tiles 100000

All that is timed takes turns on one picture after another, so that a busy machine slows every one of them alike.
Reported are medians, and of each ratio the median over rounds of what stood side by side. ``--stages`` times decoding,
resizing, the network and the decision one by one; ``--equal`` and ``--tiles`` compare label maps, of pictures and of
random logits, with those of every pixel decided. ``--networks`` times files without anything around them, in CPU time
where ``--threads`` is 1, so that other work on the machine counts less, and by the clock otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mnv2dense import DenseModel, ExportedModel, Predictor, load_model
from mnv2dense.io.reading import list_images, read_image
from mnv2dense.ops.label_map import Samples, every_pixel, label_map
from mnv2dense.ops.postprocess import PixelSelection
from mnv2dense.ops.resize import infos, resize
from mnv2dense.visualization.draw import draw_detections

Turns = Mapping[str, Callable[[Path], object]]


def main() -> None:
    """Measure what files are given for, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="folders of pictures")
    parser.add_argument("--deeplab", type=Path, nargs="*", default=[], help="DeepLab files; the first beside the peer")
    parser.add_argument("--official", type=Path, help="the official int8 TFLite DeepLab")
    parser.add_argument("--ssdlite", type=Path, nargs="*", default=[], help="detectors' files")
    parser.add_argument("--networks", type=Path, nargs="*", default=[], help="files that take turns as bare networks")
    parser.add_argument("--weights", help="the checkpoint whose logits --equal decides")
    parser.add_argument("--equal", type=int, default=0, help="so many pictures")
    parser.add_argument("--tiles", type=int, default=0, help="so many, of 2 to 21 classes and 8 to 63 pixels a side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    if not arguments.images and (arguments.deeplab or arguments.ssdlite or arguments.networks or arguments.equal):
        parser.error("--images is needed: folders of pictures")
    torch.set_num_threads(arguments.threads)
    pictures = [path for folder in arguments.images for path in list_images(folder)]
    if arguments.deeplab:
        turns = _ours(arguments.deeplab, arguments.threads)
        if arguments.official:
            turns |= _official(arguments.official, arguments.threads)
        report("JPEG to label map", turns, pictures, arguments.rounds)
        stages(arguments.deeplab[0], pictures, arguments.rounds, arguments.threads)
    if arguments.ssdlite:
        turns = _ours(arguments.ssdlite, arguments.threads) | _torchvision()
        report("JPEG to boxes", turns, pictures, arguments.rounds)
        stages(arguments.ssdlite[0], pictures, arguments.rounds, arguments.threads)
    if arguments.tiles:
        compare_tiles(arguments.tiles)
    if arguments.networks:
        turns = _official_network(arguments.official, arguments.threads) if arguments.official else {}
        turns |= {file.name: _network(file, arguments.threads) for file in arguments.networks}
        clock = time.thread_time if arguments.threads == 1 else time.perf_counter
        report("bare networks", turns, pictures, arguments.rounds, clock)
    if arguments.equal:
        compare_maps(load_model(arguments.weights), _spread(pictures, arguments.equal))


def report(
    title: str, turns: Turns, pictures: list[Path], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> None:
    """A table of medians and of ratios to the first, which all others are beside."""
    print(f"{title}, {rounds} pictures in turns")
    seconds = take_turns(turns, _spread(pictures, rounds), clock)
    first = next(iter(turns))
    for name, taken in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(taken, seconds[first], strict=True))
        print(f"  {name:44} {1000 * statistics.median(taken):8.2f} ms {ratio:8.2f} x {first}")


def take_turns(
    turns: Turns, pictures: list[Path], clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each on each picture, after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for run in turns.values():
        run(pictures[0])
    for picture in pictures:
        for name, run in turns.items():
            start = clock()
            run(picture)
            seconds[name].append(clock() - start)
    return seconds


def _ours(files: Iterable[Path], threads: int) -> dict[str, Callable[[Path], object]]:
    """The bare network of each file, and the predictor of it."""
    turns: dict[str, Callable[[Path], object]] = {}
    for file in files:
        predict: Predictor[Any] = Predictor(file, threads=threads)
        turns[f"{file.stem}, network"] = _network(file, threads)
        turns[f"{file.stem}, Predictor"] = predict
    return turns


def _network(file: Path, threads: int) -> Callable[[Path], object]:
    """The compiled file, as its runtime runs it, on pixels that are there."""
    model = ExportedModel(file, threads=threads)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, *model.size), np.uint8)
    return lambda _: model._run(pixels)


def _official_network(file: Path, threads: int) -> dict[str, Callable[[Path], object]]:
    """The official file, and the same up to its logits, which is what is upsampled and decided behind them."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    (graph,) = model.subgraphs
    kinds = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
    last = max(index for index, kind in enumerate(kinds) if kind == "CONV_2D")
    graph.outputs, graph.operators = graph.operators[last].outputs, graph.operators[: last + 1]
    files = {
        "the official file up to its logits": bytes(flatbuffer_utils.convert_object_to_bytearray(model)),
        "the official file": file.read_bytes(),
    }

    def runner(content: bytes) -> Callable[[Path], object]:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]
        pixels = np.random.default_rng(0).integers(0, 256, given["shape"], np.uint8)

        def run(_: Path) -> object:
            interpreter.set_tensor(given["index"], pixels)
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

        return run

    return {name: runner(content) for name, content in files.items()}


def _official(file: Path, threads: int) -> dict[str, Callable[[Path], object]]:
    """As its users have it: OpenCV and numpy around LiteRT, squashed; the picture's own size at the end."""
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=threads)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(picture: Path) -> npt.NDArray[np.uint8]:
        read = cv2.imread(str(picture))
        assert read is not None
        image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
        interpreter.set_tensor(given["index"], cv2.resize(image, (513, 513))[None].astype(given["dtype"]))
        interpreter.invoke()
        labels = interpreter.get_tensor(wanted["index"]).reshape(513, 513).astype(np.uint8)
        size = (image.shape[1], image.shape[0])
        return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    return {"the official file, OpenCV and LiteRT": run}


def _torchvision() -> dict[str, Callable[[Path], object]]:
    """Its detector, as its users have it; of random weights, so that its NMS has something to do."""
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).eval()

    def run(picture: Path) -> object:
        with torch.inference_mode():
            return model([decode_image(str(picture), ImageReadMode.RGB).float() / 255])

    return {"torchvision's ssdlite320_mobilenet_v3_large": run}


def stages(file: Path, pictures: list[Path], rounds: int, threads: int) -> None:
    """What each step on the way from the file takes."""
    model = ExportedModel(file, threads=threads)
    seconds: dict[str, list[float]] = {}

    def timed(name: str, start: float) -> float:
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        return time.perf_counter()

    for picture in _spread(pictures, rounds):
        with model.beside(), torch.inference_mode():
            start = time.perf_counter()
            pixels = torch.from_numpy(read_image(picture)).permute(2, 0, 1)
            start = timed("read and decode", start)
            fitted, fit = resize(pixels, model.size, model.resize)
            start = timed("resize", start)
            tensors = model.run(fitted[None])
            start = timed("network", start)
            back = infos([0], [(int(pixels.shape[1]), int(pixels.shape[2]))], [fit])
            results = _decide(model, tensors, back)
            start = timed("decide", start)
        if model.task == "detection":
            draw_detections(pixels.permute(1, 2, 0).numpy(), results[0])
            timed("draw all boxes", start)
    print(
        f"  stages of {file.stem}: " + ", ".join(f"{k} {1000 * statistics.median(v):.2f}" for k, v in seconds.items())
    )


def _decide(model: ExportedModel, tensors: list[torch.Tensor], back: Any) -> list[Any]:  # noqa: ANN401 - Infos
    from mnv2dense.runtimes.exported_model import results_of

    said = model.description
    return results_of(said.outputs, tensors, model.selection, back, model.size, parts=said.parts)


def compare_maps(model: DenseModel, pictures: list[Path]) -> None:
    """How many label maps differ from those of every pixel decided, and by how many pixels."""
    selection = model.selection
    assert isinstance(selection, PixelSelection)
    height, width = model.size
    different = pixels = 0
    for picture in pictures:
        image = torch.from_numpy(read_image(picture)).permute(2, 0, 1)
        fitted, fit = resize(image, model.size, model.resize)
        back = infos([0], [(int(image.shape[1]), int(image.shape[2]))], [fit])
        with torch.inference_mode():
            decoded = model.decode(model(fitted[None]), model.size)
            (found,) = selection(decoded, back)
            (rows, columns), (scale_x, scale_y), (left, top) = (part[0].tolist() for part in back[1:])
            logits = decoded.logits[0]
            down = Samples.of(rows, scale_y, top, height, logits.shape[1], selection.align_corners)
            across = Samples.of(columns, scale_x, left, width, logits.shape[2], selection.align_corners)
            unlike = int((found.labels != every_pixel(logits, down, across)).sum())
        different, pixels = different + (unlike > 0), pixels + unlike
    print(f"{different} of {len(pictures)} label maps differ from those of every pixel decided, {pixels} pixels in all")


def compare_tiles(count: int) -> None:
    """The same of random logits, with corners aligned or not and with a frame as letterboxing leaves one."""
    random = np.random.default_rng(0)
    different = pixels = 0
    for _ in range(count):
        classes, *grid, height, width = random.integers((2, 2, 2, 8, 8), (22, 10, 10, 64, 64)).tolist()
        logits = torch.from_numpy(3 * random.standard_normal((classes, *grid), np.float32))
        aligned, frame = bool(random.integers(2)), float(random.integers(9))
        down = Samples.of(height, (65 - 2 * frame) / height, frame, 65, grid[0], aligned)
        across = Samples.of(width, 65 / width, 0.0, 65, grid[1], aligned)
        unlike = int((label_map(logits, down, across) != every_pixel(logits, down, across)).sum())
        different, pixels = different + (unlike > 0), pixels + unlike
    print(f"{different} of {count} random tiles differ from those of every pixel decided, {pixels} pixels in all")


def _spread(pictures: list[Path], count: int) -> list[Path]:
    """So many of them, evenly; some again where there are fewer."""
    return [pictures[number * len(pictures) // count] for number in range(count)]


if __name__ == "__main__":
    main()
