"""What the exporters share: checks before any work, silence of other projects' converters, and files in pairs."""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mnv2dense.export.graph import ExportGraph
from mnv2dense.quantization.int8 import check_names
from mnv2dense.quantization.targets import TARGETS, TargetName
from mnv2dense.runtimes.formats import FORMATS, companions_of, ends_in
from mnv2dense.runtimes.metadata import Metadata, Outputs, Precision
from mnv2dense.utils.files import atomic_write
from mnv2dense.utils.untyped import Untyped


@final
@dataclass(frozen=True)
class Writer:
    """What an exporter says of itself; each module of this package has one, as ``WRITER``.

    Attributes:
        name: key of :data:`mnv2dense.runtimes.formats.FORMATS`; also the extra that installs it.
        title: the format's own name.
        packages: modules that it needs.
        int8_packages: and those that int8 needs besides.
        calibrates: whether int8 takes its ranges from images.
        refused: precision -> why there is no such file, and what to take instead.
        refused_outputs: likewise, of what comes out.
        targets: devices whose rounding its int8 files can have, keys of
            :data:`mnv2dense.quantization.targets.TARGETS`.
        torch_below: (major, minor) of the first torch that it does not go with.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    int8_packages: tuple[str, ...] = ()
    calibrates: bool = True
    refused: Mapping[Precision, str] = field(default_factory=dict)
    refused_outputs: Mapping[Outputs, str] = field(default_factory=dict)
    targets: tuple[TargetName, ...] = ("per_channel",)
    torch_below: tuple[int, int] | None = None

    def check(
        self,
        graph: ExportGraph,
        path: Path,
        metadata: Metadata,
        *,
        calibration: Sequence[Tensor] | None,
        keep_float: Sequence[str],
    ) -> None:
        """Whether it can be done, as far as that is known beforehand; the arguments are those of ``export``.

        Raises:
            ValueError: another suffix, a precision or outputs that the format lacks, an unknown module in
                ``keep_float``, or int8 without calibration.
        """
        suffix = FORMATS[self.name].suffix
        if not ends_in(path.name, suffix):
            raise ValueError(f"{path}: {self.title} files end in {suffix}; name it so.")
        self.check_precision(metadata.precision)
        self.check_outputs([metadata.outputs, *metadata.parts.values()])
        check_names(graph.model, keep_float)
        self.check_calibration(metadata.precision, calibration)

    def check_precision(self, precision: Precision) -> None:
        """Whether there are such files.

        Raises:
            ValueError: there are none; the message says why.
        """
        if precision in self.refused:
            raise ValueError(f"precision={precision}: {self.refused[precision]}")

    def check_outputs(self, outputs: Iterable[Outputs]) -> None:
        """Whether such files can give these.

        Raises:
            ValueError: they cannot; the message says why.
        """
        for each in outputs:
            if each in self.refused_outputs:
                raise ValueError(self.refused_outputs[each])

    def check_target(self, target: TargetName) -> None:
        """Whether its int8 files can be rounded so.

        Raises:
            ValueError: they cannot; the message names who can.
        """
        if target not in self.targets:
            raise ValueError(
                f"target={target}: {self.title} files of this project have {TARGETS['per_channel'].words}; "
                f"exporter=onnx writes {TARGETS[target].words}."
            )

    def check_calibration(self, precision: Precision, calibration: Sequence[Tensor] | None) -> None:
        """Whether there is what int8 takes its ranges from.

        Raises:
            ValueError: there is nothing.
        """
        if precision == "int8" and self.calibrates and not calibration:
            raise ValueError("int8 needs calibration images: give a few dozen like those that the model will see.")

    def check_installed(self, precision: Precision) -> None:
        """Whether its packages are there, without importing them.

        Raises:
            ImportError: one is not, or does not go with this torch; the message says what to install.
        """
        if self.torch_below is not None and _torch_version() >= self.torch_below:
            limit = ".".join(map(str, self.torch_below))
            raise ImportError(
                f"exporting to {self.title} needs torch < {limit} and {self._listed(precision)}, this is torch "
                f'{torch.__version__}: pip install "mnv2dense[{self.name}]" in an environment of its own; the file '
                "will run beside any torch"
            )
        for package in self._needed(precision):
            if find_spec(package.partition(".")[0]) is None:
                raise ImportError(f"{self._advice(precision)} (there is no {package.partition('.')[0]})")

    def load(self, precision: Precision) -> None:
        """Import its packages, quietly.

        Raises:
            ImportError: one is missing or broken; the message says what to install.
        """
        self.check_installed(precision)
        try:
            with quiet(stdout=True, stderr=True):
                for package in self._needed(precision):
                    importlib.import_module(package)
        except ImportError as error:
            raise ImportError(f"{self._advice(precision)} ({error})") from error

    def _needed(self, precision: Precision) -> tuple[str, ...]:
        return self.packages + (self.int8_packages if precision == "int8" else ())

    def _listed(self, precision: Precision) -> str:
        names = [package.partition(".")[0].replace("_", "-") for package in self._needed(precision)]
        return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

    def _advice(self, precision: Precision) -> str:
        return f'exporting to {self.title} needs {self._listed(precision)}: pip install "mnv2dense[{self.name}]"'


@contextmanager
def quiet(*, stdout: bool = False, stderr: bool = False) -> Iterator[None]:
    """Without warnings and advice that only the converters' own authors could follow.

    Args:
        stdout: hold back what is printed there too, such as progress bars.
        stderr: likewise.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), ExitStack() as streams:
            warnings.simplefilter("ignore")
            if stdout:
                streams.enter_context(redirect_stdout(io.StringIO()))
            if stderr:
                streams.enter_context(redirect_stderr(io.StringIO()))
            yield
    finally:
        logging.disable(before)


class EnlargedValues(TorchFunctionMode):
    """Inside, where one value fills a map, it is enlarged and not expanded: the same, in an operator for images.

    Of the other LiteRT's converter swaps the axes, and the file does not load; ExecuTorch's delegate does not take it.
    """

    def __torch_function__(self, func: Untyped, types: Untyped, args: Untyped = (), kwargs: Untyped = None) -> Untyped:
        if func is Tensor.expand and args[0].shape[2:] == (1, 1) and len(args) == 5:
            return F.interpolate(args[0], args[3:], mode="bilinear")
        return func(*args, **(kwargs or {}))


def write_together(path: Path, content: bytes, *beside: bytes) -> None:
    """Write a file and what belongs beside it, its weights or its metadata.

    Cut off in between, there is none under the name, and never an older file beside a new companion.

    Args:
        path: of one of the formats that have companions; all are replaced if they exist.
        content: of the file.
        beside: of its companions, in their order.
    """
    with ExitStack() as files:
        # Blocks end inside out: the companions take their names before the file does.
        files.enter_context(atomic_write(path)).write(content)
        for companion, its in zip(companions_of(path), beside, strict=True):
            files.enter_context(atomic_write(companion)).write(its)
        path.unlink(missing_ok=True)


def with_exam(description: str, exam: dict[str, Any]) -> str:
    """A description as its file holds it -> the same with an exam."""
    return replace(Metadata.from_json(description), exam=exam).to_json()


def set_exam_beside(path: Path, exam: dict[str, Any]) -> None:
    """Write an exam into the description that stands beside a file."""
    (companion,) = (each for each in companions_of(path) if each.suffix == ".json")
    text = with_exam(companion.read_text(encoding="utf-8"), exam)
    with atomic_write(companion) as file:
        file.write(text.encode())


def _torch_version() -> tuple[int, ...]:
    return tuple(int(part) for part in torch.__version__.split(".")[:2])
