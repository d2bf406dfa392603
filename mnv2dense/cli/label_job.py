"""The work of tools/predict.py output=labels.parquet: a table of labels, by this process or by workers of Ray."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from mnv2dense.cli.predict import BY_A_SIGNAL, changed_options, model_and_options
from mnv2dense.cli.words import as_typed
from mnv2dense.inference.outputs import check_table

if TYPE_CHECKING:
    from mnv2dense.inference.label_parts import Labeller
    from mnv2dense.io.sources import Source

log = logging.getLogger(__name__)


def check(config: DictConfig) -> None:
    """What can be told of the options alone."""
    for name in ("outputs", "run_dir"):
        if config[name] is not None:
            raise ValueError(f"{name}={config[name]}: a table of labels has no run folder beside it; leave it out.")
    for name, value in changed_options(config, ("opacity", "legend", "palette")).items():
        raise ValueError(f"{name}={value} is of drawings, and a table of labels has none; leave it out.")
    for name in ("track", "explain"):
        if config[name].enabled:
            raise ValueError(f"{name}=true goes into a run folder, and a table of labels has none; leave it out.")
    if config.engine == "plain":
        for name, value in changed_options(config, (f"ray.{key}" for key in config.ray)).items():
            raise ValueError(f"{name}={value} is of workers of Ray: add engine=ray, or leave it out.")
    check_table(str(config.output), config.engine)


def run(plain: dict[str, Any], source: Source) -> None:
    """Fill the table, or what is missing of it.

    Args:
        plain: conf/predict.yaml as it is asked for, checked.
        source: what is labelled.
    """
    from mnv2dense.cli.progress import progress_of
    from mnv2dense.pretrained.named import is_path
    from mnv2dense.workflows.labelling import label
    from mnv2dense.workflows.ray_labelling import Cluster

    given = str(plain["checkpoint"])
    if is_path(given) and Path(given).exists():  # workers see the same disk from another working folder
        plain = plain | {"checkpoint": str(Path(given).absolute())}
    cluster = Cluster(**plain["ray"])
    if cluster.gpus is None and plain["device"] == "cpu":
        cluster = replace(cluster, gpus=0)
    log.info("loading %s", plain["checkpoint"])
    with progress_of("images") as bar:
        job = bar.add_task("images", total=None)
        done = label(
            partial(open_labeller, plain),
            source,
            plain["output"],
            engine=plain["engine"],
            cluster=cluster,
            part_size=plain["part_size"],
            batch_size=plain["batch_size"],
            progress=lambda count, total: bar.update(job, completed=count, total=total),
        )
    if done.stopped_by is not None:
        log.info("stopped; the same command goes on")
    before = f", {done.before:,} of them from before" if done.before else ""
    log.info("%s of %s images are in %s%s", f"{done.images:,}", f"{done.total:,}", done.folder, before)
    print(done.folder)
    unread = f"{done.failed:,} of {done.images:,} images could not be read; their rows say why in the column error."
    if done.stopped_by is not None:
        if done.failed:
            log.warning("%s", unread)
        sys.exit(BY_A_SIGNAL + done.stopped_by)
    if done.failed:
        raise ValueError(unread)


def open_labeller(plain: dict[str, Any]) -> Labeller:
    """What each process labels with; ``plain`` is conf/predict.yaml as it is asked for."""
    from mnv2dense.workflows.labelling import labeller_of

    model, options = model_and_options(OmegaConf.create(as_typed(plain)))
    return labeller_of(model, **options)
