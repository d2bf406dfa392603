"""Commands that use the model of a run, as they stand: quoted for the shell and for Hydra."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mnv2dense.runtimes.formats import is_exported
from mnv2dense.types import SHOWN_SCORE


class Usage(NamedTuple):
    """How to use a model.

    Attributes:
        shell: lines for bash, in the folder that the run was started in.
        python: a script for the same place.
    """

    shell: tuple[str, ...]
    python: str


def usage_of(
    config: Mapping[str, Any], environment: Mapping[str, Any], checkpoint: str, task: str, image: str
) -> Usage:
    """Commands for a checkpoint and one of the images that it was scored on.

    Args:
        config: of the run; tells packages besides mnv2dense that the model is made of.
        environment: of the run; its command tells how tools are called.
        checkpoint: run folder, file or name.
        task: of the model.
        image: a file.
    """
    tool = _tool_of(environment["command"])
    packages = _packages_of(config)
    model = _model_of(config, checkpoint)
    trained = "trainer" in config
    lines = [
        [tool("predict"), *model, override("source", image)],
        [tool("evaluate"), *model],
        # A file alone tells no data, and the export is compared with the model on images.
        [
            tool("export"),
            *model,
            "exporter=onnx",
            *([] if trained else [override("images", str(Path(image).parent))]),
        ],
        [tool("demo"), *model],
    ]
    exported = is_exported(checkpoint)
    shown = lines[:2] if exported else lines
    if not trained:
        shown = [line for line in shown if line[0] != tool("evaluate")]
    loading = json.dumps(checkpoint, ensure_ascii=False)
    if len(packages) > 1:
        loading = f"mnv2dense.load_model({loading}, packages={packages})"
    threshold = f", threshold={SHOWN_SCORE}" if task in ("detection", "joint") else ""
    answer = {
        "detection": 'for box in found:\n    print(f"{box.name} {box.score:.2f} {box.xyxy}")',
        "segmentation": "print(found.shares())  # and found.labels, the class of every pixel",
        "joint": 'found.save("found.jpg")\nfor name in found:\n    print(name, found[name])',
    }.get(task, "print(found[0].name, found[0].score)")
    script = (
        "import mnv2dense\n\n"
        f"predictor = mnv2dense.Predictor({loading}{threshold})\n"
        f"found = predictor({json.dumps(image, ensure_ascii=False)})\n{answer}"
    )
    return Usage(tuple(" ".join(line) for line in shown), script)


def ways_on(config: Mapping[str, Any], command: Sequence[str], folder: str) -> tuple[str, str]:
    """The commands that go on with a run that was stopped, and that score what there is of it.

    Args:
        config: of the run.
        command: that started it, as in its environment.json; its options are all given again, as ``resume=`` takes
            none from the run.
        folder: of the run.
    """
    start, program, *words = command
    kept = [word for word in words if word.partition("=")[0].lstrip("+") != "resume"]
    goes_on = f"{shown_command([start, program, *kept])} {override('resume', folder)}"
    return goes_on, " ".join([_tool_of(command)("evaluate"), *_model_of(config, folder)])


def shown_command(command: Sequence[str]) -> str:
    """A command of environment.json as one would type it: ``python tools/train.py ...`` or ``mnv2dense-train ...``."""
    _, program, *words = command
    start = ["python", program] if program.endswith(".py") else [Path(program).name]
    return shlex.join([*start, *words])


def override(key: str, value: str) -> str:
    """``key=value`` for a shell and Hydra behind it, quoted only where one of them needs it."""
    if re.fullmatch(r"[\w./@:+-]+", value, re.ASCII) and not _is_plain_value(value):
        return f"{key}={value}"
    value = value.replace("${", "\\${")  # OmegaConf would look up what follows
    # Hydra's rule: backslashes count only before a quote, and so at the end.
    inside = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return shlex.quote(f"{key}='{inside}'")


def _is_plain_value(text: str) -> bool:
    """Whether Hydra reads a number, a truth value or nothing in these letters."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True


def _tool_of(command: Sequence[str]) -> Any:  # noqa: ANN401 - name -> words
    program = Path(command[1])
    if program.suffix != ".py":
        return lambda name: f"mnv2dense-{name}"
    return lambda name: f"python {shlex.quote(str(program.with_name(f'{name}.py')))}"


def _model_of(config: Mapping[str, Any], checkpoint: str) -> list[str]:
    """The words that name a model, and the packages that it is made of."""
    packages = _packages_of(config)
    foreign = [f"packages=[{','.join(packages)}]"] if len(packages) > 1 else []
    return [override("checkpoint", checkpoint), *map(shlex.quote, foreign)]


def _packages_of(config: Mapping[str, Any]) -> list[str]:
    named = list(config.get("packages") or ["mnv2dense"])
    targets = [str((config.get(part) or {}).get("_target_", "mnv2dense")) for part in ("backbone", "head")]
    return list(dict.fromkeys([*named, *(target.partition(".")[0] for target in targets)]))
