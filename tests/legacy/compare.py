"""Compare what this checkout's code makes of the legacy artefacts with what commit 4ebb704 made of them.

    PYTHONPATH=<checkout> python compare.py [--small <folder>] [--checkout <checkout>] [--only <text>]
        [--no-files] [--no-runs]

``--small`` is the folder of artefacts (default: ``v0.1`` beside this script); ``--checkout``
the one whose ``tools/`` are run (default: the one that ``mnv2dense`` is imported from). One line is printed for each
comparison: its name, and ``equal`` (every bit) or the largest difference. The exit code is 1 if anything differs.

Models and files are loaded through public names alone: ``mnv2dense.load_model`` and ``mnv2dense.Predictor``.
Everything runs on one thread of the CPU, as it did when the answers were stored.
"""

from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"  # before anything that has threads of its own is imported, and for what is started
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import argparse
import dataclasses
import hashlib
import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

TASKS = ("detection", "segmentation", "classification")
THRESHOLD = 0.001
"""Low enough that a model which has hardly learnt anything still answers."""

EXPORTED = (".onnx", ".xml", ".pte", ".tflite")


# --- answers: the same code makes and checks them -----------------------------------------------------------------


def answers(artefact: Path, picture: Path) -> dict[str, np.ndarray]:
    """All that a checkpoint, run folder or exported file says of a picture, as arrays by name."""
    if artefact.suffix == ".mlpackage":
        return coreml_facts(artefact)
    import mnv2dense

    torch.set_num_threads(1)
    found: dict[str, np.ndarray] = {}
    is_file = artefact.suffix in EXPORTED
    predictor = mnv2dense.Predictor(artefact, threshold=THRESHOLD, device="cpu", threads=1 if is_file else None)
    images, infos = _seen_by(predictor, picture)
    found |= _arrays("infos", infos)
    found["images"] = images.numpy()
    result = predictor(picture)
    found |= _result("predictor", result)
    found["predictor.to_dict"] = as_text(result.to_dict())
    found["predictor.to_coco"] = as_text(result.to_coco(7))
    if is_file:
        # The description holds a file's classes, size, way of resizing, thresholds, licence and versions.
        found["description"] = as_text(_plain(predictor.model.description))
        for number, tensor in enumerate(predictor.model.run(images)):
            found[f"raw.{number}"] = tensor.numpy().copy()
        (plain,) = predictor.model.predict(images, infos)
        found |= _result("predict", plain)
        return found
    model = mnv2dense.load_model(artefact)
    found["config"] = as_text(model.config)
    with torch.inference_mode():
        raw = model(images)
        found |= _arrays("raw", raw)
        found |= _arrays("decoded", model.decode(raw))
        (plain,) = model.predict(images, infos)
    found |= _result("predict", plain)
    found["digests"] = as_text(digests(model.state_dict()))
    return found


def _seen_by(predictor: Any, picture: Path) -> tuple[torch.Tensor, Any]:
    """The tensors that the predictor hands its model for this picture: resized, with the way back."""
    seen: list[Any] = []
    model = predictor.model
    predict = model.predict

    def listening(images: torch.Tensor, infos: Any) -> Any:
        seen.append((images.clone(), infos))
        return predict(images, infos)

    object.__setattr__(model, "predict", listening)
    try:
        predictor(picture)
    finally:
        object.__delattr__(model, "predict")
    return seen[0]


def _result(prefix: str, result: Any) -> dict[str, np.ndarray]:
    names = [name for name in ("boxes", "scores", "labels") if getattr(result, name, None) is not None]
    found = {f"{prefix}.{name}": getattr(result, name).numpy().copy() for name in names}
    found[f"{prefix}.class_names"] = np.array(list(result.class_names))
    palette = getattr(result, "palette", None)
    return found if palette is None else {**found, f"{prefix}.palette": np.array(palette)}


def _arrays(prefix: str, value: Any) -> dict[str, np.ndarray]:
    """A tensor, or what holds tensors, as arrays; names and order of a named tuple's fields count."""
    if isinstance(value, torch.Tensor):
        return {prefix: value.detach().contiguous().numpy().copy()}
    if isinstance(value, Mapping):
        parts: Any = value.items()
    elif hasattr(value, "_asdict"):
        parts = value._asdict().items()
    elif isinstance(value, Sequence) and not isinstance(value, str):
        parts = enumerate(value)
    else:
        return {prefix: as_text(value)}
    return {name: array for key, part in parts for name, array in _arrays(f"{prefix}.{key}", part).items()}


def coreml_facts(package: Path) -> dict[str, np.ndarray]:
    """Of a file that runs on Apple's systems alone: what it says, and what the project makes of it elsewhere."""
    import mnv2dense

    found: dict[str, np.ndarray] = {}
    try:
        mnv2dense.Predictor(package)
        refusal = "none"
    except Exception as error:
        refusal = f"{type(error).__name__}: {error}".replace(str(package), package.name)
    found["predictor.refusal"] = np.array(refusal)
    import coremltools

    spec = coremltools.utils.load_spec(str(package))
    found["description"] = as_text(json.loads(spec.description.metadata.userDefined["mnv2dense"]))
    found["inputs"] = np.array([str(each) for each in spec.description.input])
    found["outputs"] = np.array([str(each) for each in spec.description.output])
    # Not a public name, so it is looked for under whatever room it stands in.
    check = _function("coreml", "check")
    found["structure"] = np.array("not offered") if check is None else as_text(_plain(check(package)))
    return found


def _function(word: str, name: str) -> Any:
    """Of that name, defined in a module of the project whose own name holds the word."""
    import mnv2dense

    for each in pkgutil.walk_packages(mnv2dense.__path__, "mnv2dense.", onerror=lambda _: None):
        if word in each.name.rpartition(".")[2]:
            found = getattr(importlib.import_module(each.name), name, None)
            if getattr(found, "__module__", None) == each.name:
                return found
    return None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        # Of one head there are no parts, and a model may keep no thresholds or temperature; files of then had none of
        # these, and no exam.
        new = (("parts", {}), ("thresholds", {}), ("temperatures", {}), ("exam", {}))
        return {str(key): _plain(part) for key, part in value.items() if (key, part) not in new}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def as_text(value: Any) -> np.ndarray:
    return np.array(json.dumps(value, sort_keys=True, ensure_ascii=False))


# --- weights ------------------------------------------------------------------------------------------------------


def tensors_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint of a run, by its path in it: averaged and raw weights, optimiser, and the rest.

    Of ``best.ckpt`` the weights to use alone, which is what it is for.
    """
    found: dict[str, torch.Tensor] = {}

    def collect(path: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, Mapping):
            for key, part in value.items():
                collect(f"{path}/{key}", part)
        elif isinstance(value, list | tuple):
            for number, part in enumerate(value):
                collect(f"{path}/{number}", part)

    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    for key, part in content.items():
        if checkpoint.name == "best.ckpt" and key != "mnv2dense":
            continue
        # What callbacks keep under is their class's place; where a class stands says nothing of weights.
        collect(key, list(part.values()) if key == "callbacks" else part)
    return found


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Of every tensor the first 16 digits of the SHA-256 of its type, shape and bytes."""
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: torch.Tensor) -> str:
    array = tensor.detach().cpu().contiguous().numpy()
    return hashlib.sha256(f"{array.dtype.str} {list(array.shape)} ".encode() + array.tobytes()).hexdigest()[:16]


# --- comparing ----------------------------------------------------------------------------------------------------


class Report:
    """Prints a line per comparison, and counts those that differ."""

    def __init__(self) -> None:
        self.lines = 0
        self.differing = 0

    def line(self, name: str, differences: Sequence[str], count: int) -> None:
        self.lines += 1
        self.differing += bool(differences)
        more = f" (and {len(differences) - 4} more)" if len(differences) > 4 else ""
        said = f"DIFFERENT: {'; '.join(differences[:4])}{more}" if differences else f"equal ({count} values compared)"
        print(f"{name}: {said}", flush=True)


def differences_of(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> list[str]:
    found = [f"{name} is missing" for name in old.keys() - new.keys()]
    found += [f"{name} is new" for name in new.keys() - old.keys()]
    for name in sorted(old.keys() & new.keys()):
        before, after = old[name], new[name]
        if name == "config":
            before, after = _today(before), _today(after)
        if before.dtype.kind == after.dtype.kind == "U":  # the width of a text array is no part of it
            if before.tolist() != after.tolist():
                found.append(f"{name} was {_short(before)}, is {_short(after)}")
        elif before.dtype != after.dtype or before.shape != after.shape:
            found.append(f"{name} was {before.dtype}{list(before.shape)}, is {after.dtype}{list(after.shape)}")
        elif before.tobytes() != after.tobytes():
            gap = np.abs(before.astype(np.float64) - after.astype(np.float64)).max()
            found.append(f"{name} max difference {gap:.3g}")
    return found


def _today(config: np.ndarray) -> np.ndarray:
    """Classes by the addresses that they have now, where this checkout knows that they have moved."""
    try:
        from mnv2dense.utils.renamed import config_now
    except ImportError:
        return config
    return as_text(config_now(json.loads(str(config))))


def _short(value: np.ndarray) -> str:
    text = str(value.tolist())
    return text if len(text) < 160 else f"{text[:157]}..."


def numbers_differ(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = [f"{name} is missing" for name in old.keys() - new.keys()]
    found += [f"{name} is new" for name in new.keys() - old.keys()]
    both = sorted(old.keys() & new.keys())
    return found + [f"{name} was {old[name]!r}, is {new[name]!r}" for name in both if old[name] != new[name]]


# --- the commands -------------------------------------------------------------------------------------------------


def tool(checkout: Path, name: str, *arguments: str, cwd: Path, cache: Path) -> None:
    """Run ``tools/<name>.py`` of a checkout with its own package, in a folder of its own."""
    path = os.pathsep.join([str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(checkout / "tools" / f"{name}.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "MNV2DENSE_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"tools/{name}.py {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-2000:]}")


def check_runs(small: Path, checkout: Path, report: Report, only: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        for task in TASKS:
            kept = small / task
            shutil.copytree(kept / "interrupted", place / task / "interrupted")
            # Both had the same bytes, so one is kept.
            checkpoints = place / task / "interrupted" / "checkpoints"
            shutil.copyfile(checkpoints / "last.ckpt", checkpoints / "best.ckpt")
            arguments = (kept / "arguments.txt").read_text().split("\n")[:-1]
            if only in f"{task}/evaluate":
                try:
                    tool(checkout, "evaluate", f"checkpoint={task}/interrupted", f"run_dir={task}/evaluated",
                         cwd=place, cache=place / "cache")  # fmt: skip
                    old, new = _metrics(kept / "evaluated.json"), _metrics(place / task / "evaluated" / "metrics.json")
                    report.line(f"{task}/evaluate checkpoint=interrupted", numbers_differ(old, new), len(old))
                except (RuntimeError, OSError) as error:
                    report.line(f"{task}/evaluate checkpoint=interrupted", [str(error)], 0)
            if only in f"{task}/resume":
                try:
                    tool(checkout, "train", *arguments, f"resume={task}/interrupted", f"run_dir={task}/resumed",
                         cwd=place, cache=place / "cache")  # fmt: skip
                    check_resumed(kept / "finished", place / task / "resumed", f"{task}/resume", report)
                except (RuntimeError, OSError) as error:
                    report.line(f"{task}/resume", [str(error)], 0)


def check_resumed(finished: Path, resumed: Path, name: str, report: Report) -> None:
    """A resumed run beside the one that was never interrupted."""
    from safetensors.torch import load_file

    old, new = _metrics(finished / "metrics.json"), _metrics(resumed / "metrics.json")
    report.line(f"{name} metrics.json", numbers_differ(old, new), len(old))
    with np.load(finished / "digests.npz") as kept:
        sums = {file: json.loads(str(kept[file])) for file in kept.files}
    for file in ("best.ckpt", "last.ckpt"):
        tensors = tensors_of(resumed / "checkpoints" / file)
        found = numbers_differ(sums[file], digests(tensors))
        if found and file == "last.ckpt":  # how far apart, as these weights themselves are kept
            before = load_file(finished.parent / "pretrained" / "model.safetensors")
            after = {path.removeprefix("mnv2dense/weights/"): tensor for path, tensor in tensors.items()}
            gaps = [
                float((tensor.double() - after[path].double()).abs().max())
                for path, tensor in before.items()
                if path in after and after[path].shape == tensor.shape
            ]
            found.insert(0, f"{len(found)} tensors; weights differ by at most {max(gaps, default=float('nan')):.3g}")
        report.line(f"{name} {file} (weights, optimiser)", found, len(sums[file]))


def _metrics(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


# --- main ---------------------------------------------------------------------------------------------------------


def artefacts_of(small: Path) -> list[tuple[Path, Path]]:
    """(artefact, stored answers) of all."""
    pairs = []
    for task in TASKS:
        for stored in sorted((small / task / "answers").glob("*.npz")):
            name = stored.stem  # a file's whole name, or "interrupted", a run folder
            places = [small / task / name, small / task / "exported" / name]
            pairs.append((next((place for place in places if place.exists()), places[0]), stored))
    return pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent
    parser.add_argument("--small", type=Path, default=here / "v0.1")
    parser.add_argument("--checkout", type=Path)
    parser.add_argument("--only", default="", help="comparisons whose name holds this text")
    parser.add_argument("--no-files", action="store_true", help="leave checkpoints and exported files out")
    parser.add_argument("--no-runs", action="store_true", help="leave evaluate and resume out")
    options = parser.parse_args()
    small: Path = options.small.resolve()
    import mnv2dense

    checkout: Path = (options.checkout or Path(mnv2dense.__file__).parent.parent).resolve()
    if not Path(mnv2dense.__file__).resolve().is_relative_to(checkout):
        parser.error(f"mnv2dense is imported from {Path(mnv2dense.__file__).parent}: set PYTHONPATH={checkout}")
    print(f"checkout {checkout}, torch {torch.__version__}", flush=True)
    report = Report()
    for artefact, stored in [] if options.no_files else artefacts_of(small):
        name = f"{stored.parent.parent.name}/{stored.stem}"
        if options.only not in name:
            continue
        with np.load(stored) as file:
            old = {key: file[key] for key in file.files}
        try:
            new = answers(artefact, small / "picture.png")
        except Exception as error:
            report.line(name, [f"{type(error).__name__}: {error}"], 0)
            continue
        report.line(name, differences_of(old, new), len(old))
    if not options.no_runs:
        check_runs(small, checkout, report, options.only)
    print(f"{report.lines} comparisons, {report.differing} different")
    return int(report.differing > 0 or report.lines == 0)


if __name__ == "__main__":
    sys.exit(main())
