"""One model in a process of its own, to be timed beside others: ours, in any form, and peers."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from mnv2dense.inference.predictor import Predictor
from mnv2dense.io.reading import read_image
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.ops.resize import resize
from mnv2dense.runtimes.exported_model import ExportedModel
from mnv2dense.runtimes.formats import is_exported, megabytes_of
from mnv2dense.utils.memory import peak_megabytes, resident_megabytes

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

TORCHVISION = "torchvision:"
"""What the name of a torchvision detector begins with, as in torchvision:ssdlite320_mobilenet_v3_large."""


@dataclass(frozen=True)
class Loaded:
    """A model ready to be timed.

    Attributes:
        kind: its runtime and precision, for the table.
        files: what lies on the disk; their sizes are added up.
        on_input: runs it on ``batch`` inputs that are ready.
        on_image: from the image's file to results in its pixels; None where the worker is a bare network.
        largest_batch: 1 where it takes no more at a time.
    """

    kind: str
    files: tuple[Path, ...]
    on_input: Callable[[int], object]
    on_image: Callable[[], object] | None
    largest_batch: int | None = None


def load(name: str, picture: Path, *, threads: int, packages: Sequence[str] = ("mnv2dense",)) -> Loaded:
    """Load a worker in this process.

    Args:
        name: an exported file, another .tflite, ``torchvision:`` and a detector's name, or anything that
            :func:`mnv2dense.load_model` takes.
        picture: what it will see.
        threads: of its runtime.
        packages: packages whose classes a checkpoint may name; see :func:`mnv2dense.load_model`.

    Raises:
        ValueError, FileNotFoundError, ImportError: it cannot be loaded.
    """
    torch.set_num_threads(threads)
    image = torch.from_numpy(read_image(picture)).permute(2, 0, 1)
    if name.startswith(TORCHVISION):
        return _torchvision(name.removeprefix(TORCHVISION), picture)
    if name.endswith(".tflite") and not Path(f"{name}.json").exists():
        return _plain_tflite(Path(name), image, threads)
    if is_exported(name):
        return _exported(Path(name), picture, image, threads)
    return _eager(name, picture, image, packages)


def _eager(name: str, picture: Path, image: Tensor, packages: Sequence[str]) -> Loaded:
    predictor = Predictor(name, device="cpu", packages=packages)
    model = predictor.model
    assert isinstance(model, DenseModel)
    fitted = resize(image, model.size, model.resize)[0][None]

    def on_input(batch: int) -> object:
        with torch.inference_mode():
            return model.decode(model(fitted.expand(batch, -1, -1, -1)))

    found = Path(name)
    return Loaded("torch, fp32", (found,) if found.is_file() else (), on_input, lambda: predictor(picture))


def _exported(file: Path, picture: Path, image: Tensor, threads: int) -> Loaded:
    model = ExportedModel(file, threads=threads)
    predictor = Predictor(model)  # the same one: memory is measured
    fitted = resize(image, model.size, model.resize)[0][None]
    kind = f"{model.runtime}, {model.description.precision}"
    return Loaded(
        kind,
        model.files,
        lambda batch: model.run(fitted.expand(batch, -1, -1, -1)),
        lambda: predictor(picture),
        model.batch,
    )


def _torchvision(name: str, image: Path) -> Loaded:
    from torchvision.models import get_model

    # Without weights nothing would pass its threshold, and nothing would be left for its NMS to do.
    model = get_model(name, weights=None, weights_backbone=None, score_thresh=0.0, detections_per_img=100).eval()

    def on_input(batch: int) -> object:
        with torch.inference_mode():
            return model([inputs] * batch)

    def read() -> Tensor:
        return torch.from_numpy(read_image(image)).permute(2, 0, 1).float().div(255)

    def on_image() -> object:
        with torch.inference_mode():
            return model([read()])

    inputs = read()
    return Loaded("torch, fp32", (), on_input, on_image)


def _plain_tflite(file: Path, image: Tensor, threads: int) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file.")
    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    _, height, width, _ = (int(side) for side in wanted["shape"])
    fitted = resize(image, (height, width))[0].permute(1, 2, 0)[None].contiguous().numpy().astype(wanted["dtype"])

    def on_input(batch: int) -> object:
        for _ in range(batch):
            interpreter.set_tensor(wanted["index"], fitted)
            interpreter.invoke()
        return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]

    kind = "litert, int8" if wanted["dtype"].__name__ in ("uint8", "int8") else "litert, fp32"
    return Loaded(kind, (file,), on_input, None, 1)


@final
class BenchmarkWorker:
    """A model in a child process, so that its memory is its own; times are taken there.

    Args:
        name: see :func:`load`.
        image: what it sees.
        threads: of its runtime.
        packages: see :func:`load`.

    Attributes:
        name: as given.
        kind: runtime and precision.
        megabytes: of its files; None where it has none.

    Raises:
        ValueError: it could not be loaded; the message says why.
    """

    def __init__(self, name: str, image: Path, *, threads: int, packages: Sequence[str] = ("mnv2dense",)) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")  # a fork of a process that ran OpenMP may hang
        self._pipe, theirs = context.Pipe()
        with _thread_limit(threads), _main_left_out():
            self._process: SpawnProcess = context.Process(
                target=_serve, args=(theirs, name, image, threads, tuple(packages)), daemon=True
            )
            self._process.start()
        theirs.close()
        self.kind, self.megabytes, self.has_images, self._largest_batch = self._answer()

    def milliseconds(self, runs: int, *, batch: int = 1) -> list[float]:
        """Of each run on inputs that are ready."""
        step = min(batch, self._largest_batch or batch)
        times: list[float] = self._ask(("input", runs, step))
        return [time * batch / step for time in times]

    def milliseconds_from_file(self, runs: int) -> list[float]:
        """Of each run from the image's file to results; empty where the worker is a bare network."""
        return self._ask(("picture", runs, 1)) if self.has_images else []

    def peak_megabytes(self) -> float | None:
        """What the process has taken at most since it began to load the model; its runtime's libraries count.

        None where the platform does not tell, as Windows.
        """
        peak: float | None = self._ask(("memory", 0, 0))
        return peak

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()

    def _ask(self, question: tuple[str, int, int]) -> Any:  # noqa: ANN401 - what the question is after
        self._pipe.send(question)
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401
        try:
            answer = self._pipe.recv()
        except EOFError as error:
            raise ValueError(f"{self.name}: its process ended (exit code {self._process.exitcode}).") from error
        if isinstance(answer, Exception):
            self.close()
            named = str(answer).startswith(f"{self.name}:")
            raise ValueError(str(answer) if named else f"{self.name}: {answer}") from answer
        return answer


@contextmanager
def _main_left_out() -> Iterator[None]:
    """A child that is spawned imports the program it was started by, which would run a script without a guard anew."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


@contextmanager
def _thread_limit(threads: int) -> Iterator[None]:
    """Runtimes without an option of their own take their threads from the environment, when they are loaded."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _serve(pipe: Connection, name: str, image: Path, threads: int, packages: Sequence[str]) -> None:
    """The child's life: load, then answer until the pipe closes."""
    before = resident_megabytes()
    try:
        loaded = load(name, image, threads=threads, packages=packages)
        for _ in range(2):  # the first runs lay out memory and choose kernels
            loaded.on_input(1)
    except Exception as error:  # whatever it is, the parent must hear of it
        pipe.send(ValueError(f"{type(error).__name__}: {error}" if not str(error) else str(error)))
        return
    megabytes = megabytes_of(loaded.files) if loaded.files else None
    pipe.send((loaded.kind, megabytes, loaded.on_image is not None, loaded.largest_batch))
    while True:
        try:
            question, runs, batch = pipe.recv()
        except (EOFError, OSError):
            return
        if question == "memory":
            peak = peak_megabytes()
            pipe.send(None if peak is None or before is None else max(0.0, peak - before))
        elif question == "picture":
            assert loaded.on_image is not None
            pipe.send([_timed(loaded.on_image) for _ in range(runs)])
        else:
            pipe.send([_timed(partial(loaded.on_input, batch)) for _ in range(runs)])


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)
