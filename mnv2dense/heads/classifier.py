"""The classifier: average pooling and one linear layer (table 2's last rows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from torch import Tensor, nn

from mnv2dense.ops.postprocess import ClassSelection
from mnv2dense.protocols import NO_CLASS
from mnv2dense.types import FeatureInfo


@final
class ClassifierHead(nn.Module):
    """One score per class for the whole image.

    Args:
        features: the one backbone map to pool (``last_conv`` in the paper).
        size: not used; any input size will do.
        class_names: the K classes.
        dropout: share of the pooled channels that a training step leaves out.
        class_offset: columns of the logits before the first class. TensorFlow's ImageNet weights have one, for the
            background; like a detector's background it takes part in the softmax and is never an answer.

    Raises:
        ValueError: not one feature, no classes, or an option outside its values.
    """

    task = "classification"
    title = "classifier"

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        *,
        size: tuple[int, int],
        class_names: Sequence[str],
        dropout: float = 0.2,
        class_offset: int = 0,
    ) -> None:
        super().__init__()
        if len(features) != 1:
            raise ValueError(f"a classifier reads one feature of the backbone, got {list(features)}.")
        if not class_names:
            raise ValueError("class_names is empty: a classifier needs at least one class.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}: a share from 0 up to, but not including, 1.")
        if class_offset < 0:
            raise ValueError(f"class_offset={class_offset}: a number of columns, 0 or more.")
        self.config: dict[str, Any] = {
            "_target_": "mnv2dense.heads.ClassifierHead",
            "features": list(features),
            "dropout": dropout,
            "class_offset": class_offset,
        }
        self.class_names = tuple(class_names)
        self.class_offset = class_offset
        self.selection = ClassSelection(self.class_names)
        ((self._feature, info),) = features.items()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(info.channels, class_offset + len(class_names))
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """Logits [B, class_offset + K]."""
        pooled = features[self._feature].mean(dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def decode(self, raw: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits -> probabilities [B, K]; what the columns before the first class take is missing from their sum."""
        return raw.float().softmax(dim=1)[:, self.class_offset :]

    def class_rows(self) -> dict[str, list[int]]:
        """The label of each row of the linear layer; see :class:`mnv2dense.protocols.ClassRows`."""
        rows = [NO_CLASS] * self.class_offset + list(range(len(self.class_names)))
        return {"classifier.weight": rows, "classifier.bias": rows}
