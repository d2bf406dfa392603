"""What training and validation data must have, alone and together, before anything is learnt from them."""

from __future__ import annotations

from mnv2dense.data.datasets.columns import spelled
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.data.datasets.joint import JointDataset
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.protocols import BoxDataset, Dataset
from mnv2dense.types import IGNORE_INDEX


def parts_of(dataset: Dataset | None) -> dict[str, Dataset | None]:
    """A data set, or those that are joined in it: how a message goes on, as in ".parts.boxes" -> data set."""
    if isinstance(dataset, JointDataset):
        return {f".parts.{name}": part for name, part in dataset.parts.items()}
    return {"": dataset}


def lack_of(dataset: Dataset | None) -> str | None:
    """What a data set has nothing of; None if it shows something, or does not tell."""
    if isinstance(dataset, BoxDataset) and not any(dataset.box_counts):
        ignored = f", only {dataset.ignored_count} regions to ignore" if dataset.ignored_count else ""
        return f"none of its {len(dataset)} images shows an object{ignored}"
    if isinstance(dataset, MaskTable) and dataset.shown == {IGNORE_INDEX}:
        return f"all pixels of its {len(dataset)} masks are ignored"
    return None


def unseen_classes(train: Dataset | None) -> str | None:
    """What to say of classes that no training image shows; None where there are none, or nobody counted."""
    if not isinstance(train, BoxDataset):
        return None
    unseen = [name for name, count in zip(train.class_names, train.box_counts, strict=True) if not count]
    if not unseen:
        return None
    more = f", ... ({len(unseen)} in all)" if len(unseen) > 8 else ""
    return f"no image shows an object of {', '.join(unseen[:8])}{more}: the model will not find any"


def shared_images(train: object, val: object) -> str | None:
    """What to say of files that are in both data sets; None where there are none, or one does not tell its files."""
    learnt, scored = (spelled(dataset.paths) if isinstance(dataset, ImageTable) else [] for dataset in (train, val))
    known = set(learnt)
    both = [path for path in scored if path in known]
    if not both:
        return None
    return (
        f"{len(both)} of its {len(scored)} images are in data.train as well, such as {both[0]}: their scores say "
        "nothing of images that the model has not seen"
    )


def disagreement(train: tuple[str, ...], val: tuple[str, ...]) -> str:
    """Where two lists of classes differ first."""
    at = next((i for i, (a, b) in enumerate(zip(train, val, strict=False)) if a != b), min(len(train), len(val)))
    first, second = (repr(names[at]) if at < len(names) else "nothing" for names in (train, val))
    return (
        f"training data has {len(train)} classes and validation data {len(val)}; label {at} is {first} in "
        f"the one and {second} in the other. Both must list the same classes in the same order."
    )
