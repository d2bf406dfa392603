"""tools/shard.py: a data set as shards, for stores that are far away."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from mnv2dense.cli.joint_data import spell_out_parts
from mnv2dense.cli.parts import built, plain_config
from mnv2dense.cli.shell import run_command

log = logging.getLogger(__name__)


def shard() -> None:
    """``mnv2dense-shard`` and tools/shard.py."""
    run_command("shard", _shard)


def _shard(config: DictConfig) -> None:
    if not isinstance(config.get("data"), DictConfig):
        raise ValueError("data is needed: the data set to write, as in data=coco data.root=coco.")
    spell_out_parts(config)
    plain_config(config)

    from mnv2dense.cli.progress import progress_of, told
    from mnv2dense.data.shards.write import check_options, check_output, write_shards
    from mnv2dense.data.split_checks import disagreement, lack_of, parts_of, shared_images

    output = Path(str(config.output))
    check_output(output)
    check_options(shard_mb=config.shard_mb, seed=config.seed)
    log.info("reading the data")
    splits = {name: built(config.data[name]) for name in ("train", "val") if config.data.get(name) is not None}
    for name, dataset in splits.items():
        for part, own in parts_of(dataset).items():
            if (lack := lack_of(own)) is not None:
                log.warning("data.%s%s: %s.", name, part, lack)
    if len(splits) == 2:
        train, val = (tuple(dataset.class_names) for dataset in splits.values())
        if train != val:
            raise ValueError(disagreement(train, val))
        # Shards have other names than the files in them, so that training cannot tell any more.
        if (shared := shared_images(splits["train"], splits["val"])) is not None:
            log.warning("data.val: %s.", shared)
    with told(progress_of("images"), "writing") as tell:
        write_shards(splits, output, shard_mb=config.shard_mb, seed=config.seed, told=tell)
    counts = ", ".join(f"{len(dataset):,} images to {name}" for name, dataset in splits.items())
    files = list(output.glob("*.tar"))
    size = sum(path.stat().st_size for path in files)
    print(f"{counts}, in {len(files)} shards of {size / 1e6:.1f} MB together\n{output}")
