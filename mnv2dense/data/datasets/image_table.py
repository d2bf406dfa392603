"""What every data set is, whatever its truth: images with ids, found by place and by id."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mnv2dense.data.datasets.columns import Paths, WholeNumbers, chosen
from mnv2dense.data.datasets.image_list import open_listed
from mnv2dense.data.image_cache import ImageCache
from mnv2dense.io.reading import Undecoded
from mnv2dense.utils.renamed import takes_old_keywords


class ImageTable:
    """The P images of a data set.

    Args:
        source: the file or folder that lists them, for messages.
        class_names: the K names that labels index.
        image_ids: P unique ids.
        paths: P files.
        skipped_images: how many were left out as missing or damaged.

    Attributes:
        class_names: as given.
        image_ids: as given; long ones are no list, but any sequence.
        paths: likewise.
        skipped_images: as given.
        cache: keeps decoded images, where one was set; None decodes them each time.
        labels_name_classes: labels are names, and ``class_names=`` of the format only says their order; where they are
            numbers, other names in the same places would be other classes.
    """

    labels_name_classes: ClassVar[bool] = False
    cache: ImageCache | None = None

    def __init__(
        self,
        *,
        source: str | Path,
        class_names: Sequence[str],
        image_ids: Sequence[int],
        paths: Sequence[Path],
        skipped_images: int = 0,
    ) -> None:
        self.source = source
        self.class_names = tuple(class_names)
        self.image_ids: Sequence[int] = image_ids if isinstance(image_ids, WholeNumbers | range) else list(image_ids)
        self.paths: Sequence[Path] = paths if isinstance(paths, Paths) else list(paths)
        self.skipped_images = skipped_images

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - as object's
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):  # as Python calls it; commands have translated their options already
            cls.__init__ = takes_old_keywords(cls.__init__)  # type: ignore[method-assign]

    def __len__(self) -> int:
        return len(self.paths)

    def path_of(self, image_id: int) -> Path:
        """Where the image with this id lies.

        Raises:
            LookupError: the data set has no such id.
        """
        return self.paths[self.place_of(image_id)]

    def place_of(self, image_id: int) -> int:
        """The index, 0..P-1, of the image with this id.

        Raises:
            LookupError: the data set has no such id.
        """
        if image_id not in self._place_of:
            raise LookupError(f"{self.source}: no image has the id {image_id!r} (of {len(self)} images).")
        return self._place_of[image_id]

    def opened_image(self, index: int) -> Undecoded:
        """The image at ``index``, its header read: its size is known, and it can be decoded."""
        path = self.paths[self._place(index)]
        return open_listed(path) if self.cache is None else self.cache.opened(path, open_listed)

    def _leave_out(self, places: Sequence[int]) -> None:
        """Forget the images at these places."""
        left = sorted(set(range(len(self))).difference(places))
        self.image_ids, self.paths = chosen(self.image_ids, left), chosen(self.paths, left)

    def _place(self, index: int) -> int:
        """The same index; a negative one counts from the end. IndexError past either end."""
        return range(len(self.paths))[index]

    @functools.cached_property
    def _place_of(self) -> dict[int, int]:
        """Made when first asked for: loading a million images takes no ids."""
        return {image_id: place for place, image_id in enumerate(self.image_ids)}
