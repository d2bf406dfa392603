"""Images sorted into folders, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from mnv2dense.data.datasets import label_values
from mnv2dense.data.datasets.columns import Paths
from mnv2dense.data.datasets.image_list import BadImages, check_limit, usable_images
from mnv2dense.data.datasets.image_table import ImageTable
from mnv2dense.io.reading import Undecoded, find_images, is_macos, report_left_out
from mnv2dense.types import Sample
from mnv2dense.utils.spread import evenly


@final
class ImageFolder(ImageTable):
    """``root/<split>/<class name>/*.jpg``, as ImageNet lies on most disks; folders inside a class belong to it.

    Args:
        root: the folder of splits.
        split: ``train``, ``val`` or whatever the folder is called.
        class_names: the classes in their order; None takes the folders' names, sorted.
        limit: only so many images, evenly spread over all, so that every class stays.
        bad_images: "error", or "skip" to leave damaged files out.

    Attributes:
        class_names: the K classes.
        image_ids: 1, 2, 3, ... in the order of classes and names.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no class or a class without images; or a name in ``class_names`` that has no folder.
    """

    labels_name_classes = True

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        limit: int | None = None,
        bad_images: BadImages = "error",
    ) -> None:
        folder = Path(root) / split
        if not folder.is_dir():
            folders = sorted(p.name for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
            beside = ", ".join(folders[:8]) or "no folders"
            raise FileNotFoundError(
                f"{folder}: no such folder (looked from {Path.cwd()}; {root} holds {beside}). It should "
                f"hold one folder of images for each class; root= and split= choose another."
            )
        there = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        folder_of: dict[str, Path] = {}
        for path in (each for each in there if not is_macos(each)):
            (name,) = label_values.class_names(path.name, source=path)
            if name in folder_of:  # "cat" and "cat "
                raise ValueError(f"{path}: the same class as {folder_of[name].name!r} beside it; put them together.")
            folder_of[name] = path
        found = list(folder_of)
        if not found:
            raise ValueError(f"{folder}: holds no folders; each class needs one with its images.")
        names = label_values.class_names(found if class_names is None else class_names)
        unknown = sorted(set(names) ^ set(found))
        if unknown or len(names) != len(found):
            where = f" in {', '.join(unknown[:8])}" if unknown else ""
            raise ValueError(f"{folder}: its folders and class_names= differ{where}; list each folder once.")
        paths: list[Path] = []
        labels: list[int] = []
        left_out: list[Path] = []
        for label, name in enumerate(names):
            images, missed = find_images(folder_of[name], recursive=True)
            left_out += missed
            if not images:
                report_left_out(folder, left_out)
                raise ValueError(f"{folder_of[name]}: a class without an image; add some, or remove the folder.")
            paths += images
            labels += [label] * len(images)
        report_left_out(folder, left_out)
        # The sampler shuffles; without it (validation) a limit must not cut off the last classes.
        check_limit(limit)
        chosen = range(len(paths)) if limit is None else evenly(len(paths), limit)
        usable = usable_images(folder, [paths[i] for i in chosen], bad_images=bad_images, limit=None)
        super().__init__(
            source=folder,
            class_names=names,
            image_ids=range(1, len(usable) + 1),
            paths=Paths.below(folder, (paths[chosen[i]] for i in usable)),
            skipped_images=len(chosen) - len(usable),
        )
        self._labels = np.array([labels[chosen[i]] for i in usable], np.int64)

    def labels_of(self, index: int) -> list[int]:
        """The label of the image at ``index``."""
        return [int(self._labels[self._place(index)])]

    def __getitem__(self, index: int) -> Sample:
        sample, image = self.opened(index)
        return sample._replace(image=image.decode(1)[0])

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        """The sample without its pixels, and what gives them; see :class:`mnv2dense.protocols.OpensImages`."""
        index = self._place(index)
        path, image_id, image = self.paths[index], self.image_ids[index], self.opened_image(index)
        labels = self._labels[index : index + 1].copy()
        return Sample(image.stand_in(), boxes=None, labels=labels, mask=None, image_id=image_id, path=path), image
