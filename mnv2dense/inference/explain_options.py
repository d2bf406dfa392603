"""What is explained of many images; known without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from mnv2dense.utils.numbers import is_whole

if TYPE_CHECKING:
    from mnv2dense.inference.explanation import Explanation
    from mnv2dense.inference.predictor import Predictor
    from mnv2dense.io.inputs import ImageInput

METHODS = ("hirescam", "gradcam", "eigencam")
"""Of :func:`mnv2dense.explain`."""


def check_method(method: str) -> None:
    """Raise a ValueError unless it is one of :data:`METHODS`."""
    if method not in METHODS:
        raise ValueError(f"explain.method={method}: choose one of {', '.join(METHODS)}.")


@final
@dataclass(frozen=True)
class Explaining:
    """What is explained of each image: the arguments of :func:`mnv2dense.explain`.

    Attributes:
        method: one of :data:`METHODS`.
        name: of the class; None is that of the best box, of the largest region but background, or the likeliest.
        index: of boxes or classes, which: 0 is the best.
        head: of a model with several; None is the first.

    Raises:
        ValueError: an option outside its values.
    """

    method: str = METHODS[0]
    name: str | None = None
    index: int = 0
    head: str | None = None

    def __post_init__(self) -> None:
        check_method(self.method)
        if not is_whole(self.index) or self.index < 0:
            raise ValueError(f"explain.object={self.index}: a whole number is needed; 0 is the best, 1 the second.")

    def started(self, predictor: Predictor[Any]) -> Callable[[ImageInput], Explanation | None]:
        """What explains one image, and gives None where it shows nothing of what shall be explained.

        Raises:
            ValueError: a model that cannot be explained, or no such head or class.
        """
        from mnv2dense.inference.explanation import NothingFoundError, check_explained, explain

        check_explained(predictor, name=self.name, head=self.head)

        def explained(image: ImageInput) -> Explanation | None:
            try:
                return explain(predictor, image, method=self.method, name=self.name, index=self.index, head=self.head)
            except NothingFoundError:
                return None

        return explained
