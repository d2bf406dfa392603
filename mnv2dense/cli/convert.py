"""tools/convert.py: a data set in another format, or divided anew."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from mnv2dense.cli.parts import built, plain_config
from mnv2dense.cli.shell import run_command

log = logging.getLogger(__name__)


def convert() -> None:
    """``mnv2dense-convert`` and tools/convert.py."""
    run_command("convert", _convert)


def _convert(config: DictConfig) -> None:
    if not isinstance(config.get("data"), DictConfig):
        raise ValueError("data is needed: the data set to read, as in data=coco data.root=coco.")
    plain = plain_config(config)

    from mnv2dense.data.splits import SplitPlan
    from mnv2dense.data.writing.folder import check_output
    from mnv2dense.workflows.conversion import check_options
    from mnv2dense.workflows.conversion import convert as convert_data

    output = Path(str(config.output))
    if not isinstance(config.overwrite, bool):
        raise ValueError(f"overwrite={config.overwrite}: true or false is needed.")
    check_options(to=config.to, images=config.images, corners=config.corners)
    check_output(output, overwrite=config.overwrite)
    if not isinstance(plain["split"], dict):
        raise ValueError(f"split={config.split}: its options are set one by one, as in split.val=0.2.")
    asked = any(plain["split"][name] is not None for name in ("val", "test", "folds"))
    for name in ("groups", "alike"):
        if not asked and plain["split"][name] is not None:
            raise ValueError(f"split.{name} is of new splits: say which, as in split.val=0.2.")
    plan = SplitPlan(**plain["split"]) if asked else None

    from mnv2dense.cli.progress import progress_of, told

    log.info("reading the data")
    splits = {name: built(config.data[name]) for name in ("train", "val") if config.data.get(name) is not None}
    with told(progress_of("images"), "images") as tell:
        done = convert_data(
            splits,
            output,
            to=config.to,
            images=config.images,
            corners=config.corners,
            plan=plan,
            overwrite=config.overwrite,
            told=tell,
        )
    print(", ".join(f"{name}: {count:,} images" for name, count in done.splits.items()))
    for note in done.notes:
        print(f"  {note.what}: {note.count:,} {note.said}")
    if done.read_by:
        print(f"read it by: {done.read_by}")
    print(output)
