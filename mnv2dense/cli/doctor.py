"""tools/doctor.py: a data set looked at before training."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from mnv2dense.cli.joint_data import spell_out_parts
from mnv2dense.cli.parts import built, packages_of, plain_config, size_of
from mnv2dense.cli.shell import conf_folder, run_command
from mnv2dense.doctor.kinds import KINDS
from mnv2dense.utils.numbers import is_whole
from mnv2dense.utils.suggest import did_you_mean
from mnv2dense.utils.text_files import read_yaml

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnv2dense.doctor.examination import Diagnosis, ModelInput
    from mnv2dense.doctor.suspect import Suspect
    from mnv2dense.protocols import Dataset

log = logging.getLogger(__name__)

# Of each finding in the terminal so many files; and so many findings.
_EXAMPLES, _MOST = 3, 12

_FOUND = 1
"""The exit code where something of ``fail_on`` was found; 2 is a slip of the user's."""


def doctor() -> None:
    """``mnv2dense-doctor`` and tools/doctor.py."""
    run_command("doctor", _doctor)


def _doctor(config: DictConfig) -> None:
    if not isinstance(config.get("data"), DictConfig):
        raise ValueError("data is needed: the data set to look at, as in data=coco data.root=coco.")
    fail_on = _kinds(config.fail_on)
    size_of(config.model.size)
    spell_out_parts(config)
    # Bad images are what is looked for: nothing is refused that can be listed, unless they are asked to be skipped.
    _set_bad_images(config.data, "error", "keep")
    _check_labels(config)
    plain = plain_config(config)
    output = Path(str(config.output))
    if output.exists() and not output.is_dir():
        raise ValueError(f"output={output}: it is a file; name a folder for doctor.html and doctor.json.")

    from mnv2dense.cli.progress import progress_of
    from mnv2dense.data.split_checks import disagreement
    from mnv2dense.reporting.data_name import data_name
    from mnv2dense.workflows.examining import examine_data

    log.info("reading the data")
    splits = {name: built(config.data[name]) for name in ("train", "val") if config.data.get(name) is not None}
    if len(splits) == 2:
        train, val = (tuple(dataset.class_names) for dataset in splits.values())
        if train != val:
            raise ValueError(disagreement(train, val))
    first, dataset = next(iter(splits.items()), ("", None))
    name = data_name({**plain["data"].get(first, {}), "split": ""}, type(dataset))
    with progress_of("images") as bar:
        job = bar.add_task("reading")

        def told(what: str, so_far: int, total: int) -> None:
            bar.update(job, description=what, completed=so_far, total=total)

        done = examine_data(
            splits,
            output,
            name=name,
            task=str(config.task),
            model=_model_input(config, plain, dataset),
            search=functools.partial(_wrong_labels, config, splits, told) if config.labels.enabled else None,
            told=told,
        )
    print("\n".join(_summary(done.diagnosis)))
    print(f"{done.page}\n{done.json}")
    found = [kind for kind in fail_on if any(suspect.kind == kind for suspect in done.diagnosis.suspects)]
    if found:
        print(f"fail_on: found {', '.join(found)}")
        sys.exit(_FOUND)


def _check_labels(config: DictConfig) -> None:
    labels = config.labels
    if not isinstance(labels, DictConfig):
        raise ValueError(f"labels={labels}: its options are set one by one, as in labels.weights=imagenet.")
    if not isinstance(labels.enabled, bool):
        raise ValueError(f"labels={labels.enabled}: true or false is needed.")
    if not is_whole(labels.seed) or labels.seed < 0:
        raise ValueError(f"labels.seed={labels.seed}: a whole number of at least 0 is needed.")
    if not labels.enabled:
        for name, usual in read_yaml(conf_folder() / "doctor.yaml")["labels"].items():
            if labels[name] != usual:
                raise ValueError(f"labels.{name}={labels[name]} is of wrong labels: add labels=true.")
    elif config.task == "joint":
        raise ValueError("labels=true is of one task; look at the parts one by one, as in task=detection data=coco.")


def _wrong_labels(
    config: DictConfig,
    splits: Mapping[str, Dataset],
    told: Callable[[str, int, int], None],
    groups: npt.NDArray[np.int64],
) -> list[Suspect]:
    from mnv2dense.workflows.out_of_fold import OutOfFold, wrong_labels

    options = OutOfFold(weights=config.labels.weights, seed=config.labels.seed)
    return wrong_labels(
        splits, task=str(config.task), options=options, model=config.labels.model, groups=groups, told=told
    )


def _kinds(given: object) -> list[str]:
    kinds = list(given) if isinstance(given, ListConfig) else [given]
    for kind in kinds:
        if kind not in KINDS:
            meant = did_you_mean(str(kind), KINDS)
            raise ValueError(f"fail_on={kind}: no kind of suspect{meant} They are: {', '.join(KINDS)}.")
    return [str(kind) for kind in kinds]


def _set_bad_images(data: DictConfig, before: str, after: str) -> None:
    """In the data and in each part of them, where they are treated as ``before`` says."""
    nodes: list[Any] = [data]
    for split in ("train", "val"):
        own = data.get(split)
        if isinstance(own, DictConfig):
            nodes += [own, *(own.get("parts") or {}).values()]
    for node in nodes:
        if isinstance(node, DictConfig) and "bad_images" in node and node.get("bad_images") == before:
            with open_dict(node):
                node.bad_images = after


def _model_input(config: DictConfig, plain: Mapping[str, Any], dataset: Any) -> ModelInput:  # noqa: ANN401 - any data set
    """The input of the task's model, with the stride and anchors of a detector's head."""
    from mnv2dense.doctor.examination import ModelInput
    from mnv2dense.models.dense_model import build_model

    size = size_of(config.model.size)
    mode = plain["model"]["resize"]
    if config.task != "detection" or dataset is None:
        return ModelInput(size, mode, None, lambda size: None)
    parts = {key: OmegaConf.to_container(config[key], resolve=True) for key in ("backbone", "head")}

    def model_at(size: tuple[int, int]) -> Any:  # noqa: ANN401 - a head of anybody's
        described = {"size": list(size), "class_names": list(dataset.class_names), **parts}
        return build_model(described, packages=packages_of(parts))

    stride = min(info.stride for info in model_at(size).backbone.feature_info.values())
    return ModelInput(size, mode, stride, lambda size: getattr(model_at(size).head, "anchors", None))


def _summary(diagnosis: Diagnosis) -> list[str]:
    """The worst findings first, each with the next step and a few files."""
    images = ", ".join(f"{fact.images:,} images of {fact.name}" for fact in diagnosis.facts)
    lines = [f"{diagnosis.name}: {images}, {len(diagnosis.class_names)} classes"]
    if not diagnosis.findings:
        return [*lines, "Nothing suspect was found."]
    for number, finding in enumerate(diagnosis.findings[:_MOST], 1):
        mark = {"wrong": "MEND", "look": "look", "note": "note"}[finding.level]
        lines.append(f"\n{number:2}. {mark}  {finding.said}.")
        suspects = [suspect for suspect in diagnosis.suspects if suspect.kind == finding.kind]
        lines += [f"      {suspect.image}: {suspect.message}" for suspect in suspects[:_EXAMPLES]]
        if len(suspects) > _EXAMPLES:
            lines.append(f"      and {len(suspects) - _EXAMPLES:,} more")
        lines.append(f"    > {finding.next_step}")
    if len(diagnosis.findings) > _MOST:
        lines.append(f"\n    and {len(diagnosis.findings) - _MOST} more findings on the page")
    return [*lines, ""]
