"""An exported file in the place of a model: the same images in, the same results out, in its own runtime."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mnv2dense.ops.postprocess import BoxSelection, ClassSelection, JointSelection, PixelSelection, Selection, joined
from mnv2dense.ops.resize import ResizeMode
from mnv2dense.runtimes.exam import Exam
from mnv2dense.runtimes.formats import files_of, format_of, is_exported, no_such_file, runnable_suffixes, runtime_module
from mnv2dense.runtimes.metadata import OUTPUT_TENSORS, Metadata, Outputs
from mnv2dense.types import Infos, PixelLogits, ScoredBoxes, Thresholds


class Runtime(Protocol):
    """A loaded file. Made as ``Module.load(path, threads=None | int)``.

    Attributes:
        description: what the file says of itself.
        batch: the number of images that a run takes; None takes any.
    """

    description: Metadata
    batch: int | None

    def __call__(self, images: npt.NDArray[np.uint8]) -> list[npt.NDArray[Any]]:
        """uint8 [B, 3, H, W], contiguous -> the outputs in the order of the description."""
        ...


@final
class ExportedModel:
    """A file that tools/export.py wrote, ready to predict; a :class:`mnv2dense.protocols.Model`.

    Several threads may use it; they wait for each other, as runtimes know one image, or batch, at a time.

    Args:
        path: .onnx, .xml (with its .bin beside it), .pte or .tflite (with their .json), or .ncnn.param (with both).
        threads: of the runtime; None takes what it takes.

    Attributes:
        path: as given.
        runtime: its module in :mod:`mnv2dense.runtimes`.
        batch: the number of images that the file takes at a time; None takes any.
        description: what the file says of itself.
        task, size, resize, class_names, category_ids: as of the model that was exported.
        selection: decides what :meth:`predict` returns, as the model's head did.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of ours, or a damaged one.
        ImportError: its runtime is not installed; the message says how.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(no_such_file(path))
        name = format_of(path)
        if name is None or not is_exported(path):
            raise ValueError(f"{path}: not an exported file; they end in {', '.join(runnable_suffixes())}.")
        if threads is not None and threads < 1:
            raise ValueError(f"threads={threads}: at least 1, or null for what the runtime takes.")
        self.path = path
        self.runtime = name
        self._run: Runtime = importlib.import_module(runtime_module(name)).load(path, threads=threads)
        self.batch = self._run.batch
        self.description: Metadata = self._run.description
        self.task = self.description.task
        self.size = self.description.size
        self.resize: ResizeMode = self.description.resize
        self.class_names = self.description.class_names
        self.category_ids = self.description.category_ids
        self.selection = self.description.make_selection()
        self._one_at_a_time = threading.Lock()

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """Those that the model kept when it was exported."""
        kept: dict[str, Thresholds] = self.description.make_thresholds()
        return kept

    @property
    def temperatures(self) -> dict[str, float]:
        """Those that the model kept when it was exported."""
        kept: dict[str, float] = self.description.make_temperatures()
        return kept

    @property
    def exam(self) -> Exam | None:
        """Pictures and answers by which the file can be checked, see :func:`mnv2dense.check_file`.

        Raises:
            ValueError: it is of a later version.
        """
        try:
            made: Exam | None = self.description.make_exam()
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}; update mnv2dense.") from error
        return made

    @property
    def name(self) -> str:
        """Task and runtime in a few words."""
        return f"{self.task} model, exported for {self.runtime}"

    @property
    def device(self) -> torch.device:
        """The CPU, where all runtimes run."""
        return torch.device("cpu")

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and those beside it that it needs."""
        return files_of(self.path)

    def for_inference(self, device: str | torch.device = "auto", *, copy: bool = True) -> ExportedModel:
        """Itself, as it was made for nothing else.

        Raises:
            ValueError: another device than "auto" or the CPU.
        """
        if str(device) not in ("auto", "cpu"):
            raise ValueError(
                f"device={device}: exported files run on the CPU; leave device out, or give the checkpoint."
            )
        return self

    def beside(self) -> AbstractContextManager[None]:
        """One thread of torch, see :func:`one_torch_thread`."""
        return one_torch_thread()

    def run(self, images: Tensor) -> list[Tensor]:
        """uint8 [B, 3, H, W] -> the file's outputs for all B; batches that the file cannot take are cut up."""
        pictures = np.ascontiguousarray(images.numpy())
        step = self._run.batch or len(pictures)
        with self._one_at_a_time:
            parts = [self._run(pictures[start : start + step]) for start in range(0, len(pictures), step)]
        if len(parts) == 1:
            return [torch.from_numpy(array) for array in parts[0]]
        return [torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True)]

    def predict(self, images: Tensor, infos: Infos) -> list[Any]:
        """uint8 [B, 3, H, W] on the CPU -> one typed result per image, in its original pixels."""
        size = (int(images.shape[-2]), int(images.shape[-1]))
        said = self.description
        return results_of(said.outputs, self.run(images), self.selection, infos, size, parts=said.parts)

    def decoded(self, images: Tensor) -> Any:  # noqa: ANN401 - what the task decodes
        """uint8 [B, 3, H, W] -> ``ScoredBoxes``, ``PixelLogits``, or probabilities [B, K]; on the CPU.

        Of several heads those of each, by its name.

        Raises:
            ValueError: the file decides inside.
        """
        forms = self.description.parts or {"": self.description.outputs}
        if decided := [form for form in forms.values() if form not in ("boxes", "logits", "scores")]:
            raise ValueError(
                f"{self.path}: it decides inside and tells no more than its decisions; export it without "
                f"{'labels=true' if 'labels' in decided else 'nms=true'}."
            )
        tensors, size = self.run(images.cpu()), (int(images.shape[-2]), int(images.shape[-1]))
        if not self.description.parts:
            return _decoded(self.description.outputs, tensors, size)
        own = by_part(self.description.parts, tensors)
        return {name: _decoded(form, own[name], size) for name, form in self.description.parts.items()}


@final
class _TorchThreads:
    """How many torch had before the first of several threads of ours asked for one."""

    lock = threading.Lock()
    users = 0
    before = 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch's own threads stay out of the way of a runtime's, while torch resizes images and selects results.

    Once woken, they spin for more work on the cores that the runtime needs: on two cores that cost half of an image's
    time. Blocks of several threads may overlap; the number afterwards is that before the first.
    """
    with _TorchThreads.lock:
        if _TorchThreads.users == 0:
            _TorchThreads.before = torch.get_num_threads()
        _TorchThreads.users += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _TorchThreads.lock:
            _TorchThreads.users -= 1
            torch.set_num_threads(_TorchThreads.before)


def by_part(parts: Mapping[str, Outputs], tensors: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """A file's outputs by the heads that they are of.

    Args:
        parts: name of the head -> which outputs it has.
        tensors: of all, one head after the other.
    """
    left = iter(tensors)
    return {name: [next(left) for _ in OUTPUT_TENSORS[form]] for name, form in parts.items()}


def _decoded(form: Outputs, tensors: Sequence[Tensor], size: tuple[int, int]) -> Any:  # noqa: ANN401 - what the task decodes
    if form == "boxes":
        return ScoredBoxes(tensors[0], tensors[1])
    return PixelLogits(tensors[0], size) if form == "logits" else tensors[0]


def results_of(
    form: Outputs,
    tensors: Sequence[Tensor],
    selection: Selection,
    infos: Infos,
    size: tuple[int, int],
    *,
    parts: Mapping[str, Outputs] | None = None,
) -> list[Any]:
    """From a file's outputs, or those of the graph that it was made of, to one typed result per image.

    Args:
        form: which outputs they are.
        tensors: these, in the order of :data:`mnv2dense.runtimes.metadata.OUTPUT_TENSORS`.
        selection: of the same task.
        infos: the way back to the B original images.
        size: (height, width) of the input, pixels.
        parts: of several heads, name -> which outputs are its.
    """
    if isinstance(selection, JointSelection):
        assert parts is not None
        own = by_part(parts, tensors)
        return joined(
            {name: results_of(each, own[name], selection.parts[name], infos, size) for name, each in parts.items()}
        )
    outputs = dict(zip(OUTPUT_TENSORS[form], tensors, strict=True))
    if isinstance(selection, BoxSelection):
        if form == "boxes":
            return list(selection(ScoredBoxes(outputs["boxes"], outputs["scores"]), infos))
        rows = _rows_of_node if form == "nms_node" else _rows_of_graph
        return [selection.at_original(*rows(selection, outputs, n), infos, n) for n in range(len(outputs["boxes"]))]
    if isinstance(selection, PixelSelection):
        if form == "labels":
            return list(selection.of_label_maps(outputs["labels"], infos))
        return list(selection(PixelLogits(outputs["logits"], size), infos))
    assert isinstance(selection, ClassSelection)
    return list(selection(outputs["scores"], infos))


def _rows_of_graph(selection: BoxSelection, outputs: Mapping[str, Tensor], image: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels that the file selected itself, without the rows that only fill its fixed shape."""
    boxes, scores, labels = (outputs[name][image] for name in ("boxes", "scores", "labels"))
    kept = labels >= 0
    return boxes[kept], scores[kept], labels[kept].long()


def _rows_of_node(selection: BoxSelection, outputs: Mapping[str, Tensor], image: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels that ONNX's NonMaxSuppression points at, which limits them by class alone."""
    scores = outputs["scores"][image]
    of_image = outputs["selected"][outputs["selected"][:, 0] == image]
    labels, anchors = of_image[:, 1], of_image[:, 2]
    # Suppression goes from the best on, so what it finds among the candidates does not depend on the others.
    pairs = scores.T.flatten()
    is_candidate = torch.zeros(len(pairs), dtype=torch.bool)
    is_candidate[pairs.topk(min(selection.candidates, len(pairs))).indices] = True
    taken = is_candidate[anchors * len(scores) + labels]
    labels, anchors = labels[taken], anchors[taken]
    values, order = scores[labels, anchors].sort(descending=True, stable=True)
    best = order[: selection.limit]
    return outputs["boxes"][image, anchors[best]], values[: selection.limit], labels[best]
