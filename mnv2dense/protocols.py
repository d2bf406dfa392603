"""What parts promise each other: the contracts of models, backbones, heads, losses, data sets and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mnv2dense.types import Batch, BoxColumns, FeatureInfo, Infos, Sample, Thresholds

if TYPE_CHECKING:  # whoever reuses the backbone needs torch alone
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from mnv2dense.io.reading import Undecoded
    from mnv2dense.ops.postprocess import Selection
    from mnv2dense.ops.resize import ResizeMode
    from mnv2dense.utils.blocks import Blocks

NO_CLASS = -1
"""In the place of a label: of no class, such as a detector's background."""


@runtime_checkable
class Model(Protocol):
    """What answers: a network in torch (:class:`mnv2dense.DenseModel`) or a file exported from one.

    Whoever predicts, scores or draws asks a model of this kind and needs not know which it is.

    Attributes:
        task: "detection", "segmentation" or "classification".
        size: (height, width) that images are resized to, pixels.
        resize: how they get there.
        class_names: the K classes that labels index.
        category_ids: what each label is called in the data set's own json.
    """

    task: str
    size: tuple[int, int]
    resize: ResizeMode
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    @property
    def name(self) -> str:
        """What it is, in a few words for people."""
        ...

    @property
    def selection(self) -> Selection:
        """Decides what :meth:`predict` returns: thresholds, suppression, colours of classes."""
        ...

    @property
    def thresholds(self) -> Mapping[str, Thresholds]:
        """The scores from which on boxes are shown best, as far as known: by the names of heads, "" is an only head."""
        ...

    @property
    def temperatures(self) -> Mapping[str, float]:
        """What scores' logits are divided by to be believed, as far as known: by heads, "" is an only head."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs and wants its images."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """What it lies in on the disk, all of it; nothing of a model in memory."""
        ...

    def predict(self, images: Tensor, infos: Infos) -> list[Any]:
        """uint8 [B, 3, H, W] on :attr:`device` -> one typed result per image, in its original pixels."""
        ...

    def decoded(self, images: Tensor) -> Any:  # noqa: ANN401 - what the task decodes
        """uint8 [B, 3, H, W] on :attr:`device` -> what is said of them before any decision.

        ``ScoredBoxes``, ``PixelLogits``, or probabilities [B, K].

        Raises:
            ValueError: a file that decides inside.
        """
        ...

    def for_inference(self, device: str | torch.device = "auto", *, copy: bool = True) -> Model:
        """The model as it predicts fastest, on a device; "auto" takes the best that it can run on.

        Args:
            device: of torch, or "auto".
            copy: leave the model itself as it is, where being ready would change it.

        Raises:
            ValueError: no such device, or one that it cannot run on.
        """
        ...

    def beside(self) -> AbstractContextManager[None]:
        """A context for what torch does before and after the model: a runtime wants torch's threads out of its way."""
        ...


@runtime_checkable
class Backbone(Protocol):
    """A feature extractor. Built for the features it is asked for; deeper layers do not exist.

    Attributes:
        feature_info: name -> (channels, stride) of each feature asked for, in the order asked.
        mean: per channel, what the weights expect subtracted from pixels scaled to 0..1.
        std: per channel, what the weights expect pixels divided by after that.
        config: plain values that rebuild this module without its weights: ``_target_``, its class, and every
            option of the constructor but ``features``, which the head's config has.
    """

    feature_info: dict[str, FeatureInfo]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    config: dict[str, Any]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] normalised float -> name -> [B, C, H / stride, W / stride]."""
        ...


@runtime_checkable
class Head(Protocol):
    """Turns features into raw predictions, those into fixed-shape tensors, those into results.

    Built as ``Head(feature_info, size=(H, W), class_names=names, **options)``: the model completes the options of
    a config with the backbone's features, its own input size and the classes.

    Attributes:
        task: what it is for, as conf/task calls it: "detection", "segmentation", "classification".
        class_names: the K names that labels index.
        config: plain values that rebuild the head once completed: ``_target_``, which names its class, ``features``,
            the names of those it reads, and every option of the constructor but ``size`` and ``class_names``.
        selection: (decoded, infos) -> one typed result per image, in its original pixels; an exported file carries
            it along by its ``config``. A head whose decisions take more has a method ``select(decoded, infos)`` too.

    A head may also have ``title``, which names it in a model's name (else its class does); of a detector ``anchors``,
    [A, 4], xyxy in pixels of its input, by which a report tells what recall they allow; ``lay(size)``, which makes
    it ready for inputs of another (height, width), so that it can be exported for them; ``scores``, the kind that its
    logits are of: a loss that names one has to name the same; and ``rate_factor``, the learning rate that suits it
    as a factor of SSDLite's, by which ``recipe=auto`` goes. A module in it whose convolutions several batch norms share
    has ``unshare()``, for :func:`mnv2dense.models.fuse.fold_batch_norms`.
    """

    task: str
    class_names: tuple[str, ...]
    selection: Any
    config: dict[str, Any]

    def __call__(self, features: Mapping[str, Tensor], size: tuple[int, int]) -> Any:  # noqa: ANN401
        """Features of images of ``size`` (height, width) -> raw predictions, what the loss takes."""
        ...

    def decode(self, raw: Any, size: tuple[int, int]) -> Any:  # noqa: ANN401
        """Raw predictions -> tensors in the model's input pixels; traceable, of fixed shape."""
        ...


@runtime_checkable
class ClassRows(Head, Protocol):
    """A head that says which rows of its tensors are of which class, so that they can go by the classes' names.

    ``init_from=`` moves such rows to where their class is in the new model. Of a head that does not say, tensors are
    taken where the lists of classes are the same, or where their shapes show that they have no rows of classes.
    """

    def class_rows(self) -> Mapping[str, Sequence[int]]:
        """Tensor of ``state_dict()`` -> the label of each of its rows, which are those of dimension 0.

        :data:`NO_CLASS` stands for a row that is no class's, such as a background's. A class may have
        several rows, one for each anchor, say; the first of one list of classes then becomes the first of the other.
        """
        ...


@runtime_checkable
class Loss(Protocol):
    """No Python loop over images or boxes, no host sync: it compiles into the model's graph."""

    def __call__(self, raw: Any, batch: Batch) -> dict[str, Tensor]:  # noqa: ANN401
        """Raw predictions and truth -> named scalar terms; their sum is what is minimised."""
        ...


@runtime_checkable
class FollowsEpochs(Loss, Protocol):
    """A loss that changes in the course of a run."""

    def begin_epoch(self, epoch: int) -> None:
        """Called with an epoch's number, from 0, before it and where a run goes on inside it; maybe twice."""
        ...


class Dataset(Protocol):
    """A map-style data set in one format.

    Attributes:
        class_names: the K names that labels index.
    """

    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def path_of(self, image_id: int) -> Path:
        """Where the image with this ``Sample.image_id`` lies; so that messages can name images."""
        ...


@runtime_checkable
class BoxDataset(Dataset, Protocol):
    """A data set of boxes, on which COCO mAP can be scored.

    Attributes:
        category_ids: what each label is called in the format's own numbering, K.
        box_counts: how many objects each label has, K; regions to ignore are none.
        ignored_count: how many regions to ignore there are.
    """

    @property
    def category_ids(self) -> Sequence[int]:
        """See above; a plain attribute will do."""
        ...

    @property
    def box_counts(self) -> Sequence[int]:
        """See above; a plain attribute will do."""
        ...

    @property
    def ignored_count(self) -> int:
        """See above; a plain attribute will do."""
        ...

    def coco_ground_truth(self) -> dict[str, Any]:
        """The truth as a COCO ``instances`` dict, in original pixels, with the format's own category ids.

        ``categories`` are in label order: label k is ``categories[k]["id"]``. Annotations carry ``area`` and
        ``iscrowd``; ids are unique and positive.
        """
        ...


@runtime_checkable
class GivesBoxColumns(BoxDataset, Protocol):
    """A data set that gives its truth without an object for each box: scoring on a large one begins at once."""

    def box_columns(self) -> BoxColumns:
        """The same truth as :meth:`BoxDataset.coco_ground_truth`'s, in its order; nobody writes into the columns."""
        ...


@runtime_checkable
class ShowsClasses(Dataset, Protocol):
    """A data set that knows what its images show without reading them, so that rare classes can be drawn more often."""

    def labels_of(self, index: int) -> Sequence[int]:
        """Labels of the classes that the image at ``index`` shows; one may be there for each object."""
        ...


@runtime_checkable
class LiesInBlocks(Dataset, Protocol):
    """A data set whose images are brought here in blocks, such as the shards of a remote store.

    Attributes:
        blocks: which block each image lies in; an epoch draws from few of them at a time.
    """

    @property
    def blocks(self) -> Blocks:
        """See above; a plain attribute will do."""
        ...

    def fetch_ahead(self, blocks: Sequence[int]) -> None:
        """Begin to bring blocks here that are wanted soon, and do not wait for them."""
        ...


@runtime_checkable
class OpensImages(Dataset, Protocol):
    """A data set that gives an image's truth before its pixels are decoded."""

    def opened(self, index: int) -> tuple[Sample, Undecoded]:
        """The sample with an array of the image's shape in place of its pixels, and what decodes those."""
        ...


@runtime_checkable
class JoinedData(Dataset, Protocol):
    """Data sets under the names of the heads that learn from them; each head is scored on its own.

    Attributes:
        parts: name of the head -> data set.
    """

    parts: dict[str, Dataset]

    def id_in(self, name: str, image_id: int) -> int | None:
        """What a part calls the image with this ``Sample.image_id``; None where it does not have it."""
        ...


@runtime_checkable
class MaskDataset(Dataset, Protocol):
    """A data set of masks, on which mIoU can be scored.

    Attributes:
        palette: RGB of each class, as its makers show it; None where they do not say.
    """

    palette: tuple[tuple[int, int, int], ...] | None

    def mask_of(self, image_id: int) -> npt.NDArray[np.uint8]:
        """The true classes of the image with this ``Sample.image_id``: uint8 [H, W], 255 ignored, original pixels."""
        ...


@runtime_checkable
class Augment(Protocol):
    """Changes training samples at random; picklable, for worker processes."""

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """A changed copy of a sample; the same seed (0..2**32 - 1) gives the same, ``sample`` itself stays as it is."""
        ...


@runtime_checkable
class FramingAugment(Augment, Protocol):
    """An augmentation that decides itself what part of an image is seen; others leave that to the resize.

    Attributes:
        chooses_frame: True: what it returns fills the model's input whole, whatever ``model.resize`` says.
        size: (height, width) in pixels that it is trained on, where that is not the model's input; else None.
    """

    @property
    def chooses_frame(self) -> bool:
        """See above; a class attribute will do."""
        ...

    @property
    def size(self) -> tuple[int, int] | None:
        """See above; a class attribute will do."""
        ...


class Plan(Protocol):
    """What an augmentation will do to one sample.

    Attributes:
        reduction: how far its image may be decoded reduced without a loss: 1, 2, 4 or 8.
    """

    @property
    def reduction(self) -> int:
        """See above; a plain attribute will do."""
        ...

    def draw(self, sample: Sample, image: npt.NDArray[np.uint8], reduction: int = 1) -> Sample:
        """Do it.

        Args:
            sample: as it was planned for; its boxes and mask are in pixels of the whole image.
            image: uint8 [ceil(H / reduction), ceil(W / reduction), 3]; left unchanged.
            reduction: of it, no more than the plan's.
        """
        ...


@runtime_checkable
class PlanningAugment(Augment, Protocol):
    """An augmentation that decides what it does before it sees a pixel: none is decoded that it will not show."""

    def plan(self, sample: Sample, seed: int, size: tuple[int, int], mode: ResizeMode) -> Plan | None:
        """What a call with that seed does, done at the size of a model's input; None where it must see pixels.

        Args:
            sample: with an image of the right shape, of which nothing else is looked at.
            seed: as of a call.
            size: (height, width) of the input, pixels.
            mode: how the result is resized to that, afterwards.
        """
        ...


@runtime_checkable
class MixingAugment(Augment, Protocol):
    """An augmentation that makes one image of several, as mosaics do, before it changes that."""

    def partners(self, seed: int, images: int) -> Sequence[int]:
        """Which of a data set's ``images`` a sample is mixed with; none where it stays alone."""
        ...

    def mix(self, sample: Sample, others: Sequence[Sample], seed: int) -> Sample:
        """The sample and its partners as one, under the sample's id; none of them is changed."""
        ...


class Metric(Protocol):
    """Scores results against a data set; every image counts once, on any number of processes.

    It may also say which of its scores a run looks at, as attributes: ``monitor``, that which chooses the best
    checkpoint (else the first headline); ``curves``, those of the epochs' lines and of curves.png (else the first
    three); ``lower_is_better``, those of which less is better (else none). ``monitor=``, ``curves=`` and
    ``monitor_mode=`` of a command go before them. No score may be called "loss", which is logged beside them.

    Attributes:
        headlines: score -> what it means in a few words: what a table shows, in its order. -1 is "cannot tell".
    """

    @property
    def headlines(self) -> Mapping[str, str]:
        """See above; a class attribute will do."""
        ...

    def bind(self, dataset: Dataset) -> None:
        """Take the truth that results will be scored against; called before the first update of every validation."""
        ...

    def reset(self) -> None:
        """Forget all results, keep the truth."""
        ...

    def update(self, results: Sequence[Any], batch: Batch) -> None:
        """Take one batch's results, in the order of ``batch.infos.image_ids``."""
        ...

    def compute(self) -> dict[str, float]:
        """Scores over all processes; a collective call, the same values everywhere."""
        ...

    def write(self, folder: Path) -> None:
        """Write what the scores alone do not show (plots, predictions) into a folder, after :meth:`compute`."""
        ...


@runtime_checkable
class NamesScores(Metric, Protocol):
    """A metric that knows what it will score before there is anything to score; ``monitor=`` is checked by it.

    Of a metric that does not, the scores of no results at all, or its headlines, are taken for all that there will be.
    """

    def score_names(self, dataset: Dataset) -> Sequence[str]:
        """What :meth:`Metric.compute` can return for this data set, those of single classes included."""
        ...
