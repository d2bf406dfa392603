"""Whether a model can come back out of a checkpoint, asked before it is trained."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence

import torch
from torch import Tensor

from mnv2dense.models.checkpoint import model_entry
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.raw_tensors import raw_tensors
from mnv2dense.models.restore import restore_model
from mnv2dense.training import random_state
from mnv2dense.utils.torch_files import TorchFileError, load_plain


def check_rebuilds(model: DenseModel, *, packages: Sequence[str]) -> None:
    """Make the model again as its checkpoint would, and compare both; a foreign part's ``config`` may lack something.

    The model and the global generators of random numbers are left as they are.

    Args:
        model: with its weights, on the CPU.
        packages: whose classes its config names, as :func:`mnv2dense.load_model` takes them.

    Raises:
        ValueError: no checkpoint of it could be loaded, or one that could would answer otherwise.
    """
    generators = random_state.capture()
    try:
        ours = copy.deepcopy(model).eval()
        file = io.BytesIO()
        torch.save(model_entry(ours), file)
        file.seek(0)
        entry = load_plain(file)
        theirs = restore_model(entry["config"], entry["weights"], packages=packages)
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (1, 3, *model.size), dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            answers = [_answers(one, images) for one in (ours, theirs)]
    except (TorchFileError, ValueError) as error:
        raise ValueError(
            "The model cannot be made again from its own config, so nothing could load this run's checkpoints: "
            f"{error} {_CONFIG_RULE}"
        ) from error
    finally:
        random_state.restore(generators)
    same = len(answers[0]) == len(answers[1]) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)
        for one, other in zip(*answers, strict=False)
    )
    if not same:
        raise ValueError(
            "The model made again from its own config and weights answers otherwise, and so would this run's "
            f"checkpoints: an option that changes what it computes is not in its config. {_CONFIG_RULE}"
        )


_CONFIG_RULE = (
    "config has _target_ and every option of the constructor but those that the model completes: features of a "
    "backbone, size and class_names of a head, whose features do stand in it (docs/architecture.md, Contracts)."
)


def _answers(model: DenseModel, images: Tensor) -> list[Tensor]:
    raw = model(images)
    # Of a raw type that hides its tensors, what is decoded of it.
    tensors = list(raw_tensors(raw)) or list(raw_tensors(model.decode(raw, model.size)))
    return [each.float() for each in tensors]
