"""Models from the Hugging Face hub and to it: config.json, model.safetensors and a model card, nothing that can run."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mnv2dense.backbones import BACKBONES
from mnv2dense.models.checkpoint import load_model
from mnv2dense.models.convert import save_safetensors
from mnv2dense.models.dense_model import DenseModel
from mnv2dense.models.restore import check_saveable
from mnv2dense.pretrained.checkpoint_file import ENTRY, FORMAT
from mnv2dense.pretrained.named import resolve
from mnv2dense.utils.files import atomic_write

HUB_TASKS = {
    "classification": "image-classification",
    "detection": "object-detection",
    "segmentation": "image-segmentation",
}
"""Our task -> the hub's; a head of somebody else may have one that the hub has no name for."""


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    device: torch.device | str = "cpu",
    packages: Sequence[str] = ("mnv2dense",),
) -> DenseModel:
    """A whole model by name, from the hub or from the disk, in eval mode.

    Args:
        name_or_folder: whatever :func:`mnv2dense.load_model` takes: a name; ``owner/name`` or ``owner/name@revision``
            on the hub; a folder that :func:`save_pretrained` wrote; a run folder or file.
        revision: branch, tag or commit of a repository on the hub.
        token: of the hub's account, for private repositories; None takes that of ``hf auth login``.
        device: where the model goes.
        packages: packages whose classes the model may be made of, see :func:`mnv2dense.build_model`.

    Raises:
        FileNotFoundError: nothing there, here or on the hub.
        DownloadError: the network failed; the message says how to go on by hand.
        ValueError: a backbone without a head, damaged, or a model that would run code of other packages.
        ImportError: it is on the hub and huggingface_hub is not installed.
    """
    named = resolve(name_or_folder, revision=revision, token=token) if isinstance(name_or_folder, str) else None
    return load_model(Path(name_or_folder) if named is None else named, device=device, packages=packages)


def save_pretrained(
    model: DenseModel, folder: str | Path, *, repo_id: str | None = None, license: str | None = None
) -> Path:
    """Write a folder that :func:`from_pretrained` reads, and that can go to the hub as it is.

    Args:
        model: with the weights to keep.
        folder: made if need be; a model in it is replaced, a README.md that is there stays.
        repo_id: ``owner/name`` for the model card's example; the folder's name if left out.
        license: of the weights, as the hub spells it ("apache-2.0"). Left out, the card claims none: weights take
            theirs from the data and the weights that they were trained from.

    Returns:
        ``folder``.

    Raises:
        ValueError: a copy of :func:`mnv2dense.split_inference`; save the original.
        OSError: the folder cannot be written.
    """
    check_saveable(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.json"
    config.unlink(missing_ok=True)  # last out, first in: an interrupted write must not leave it beside other tensors
    save_safetensors(model, folder / "model.safetensors")
    entry = {"format": FORMAT, "config": model.config}
    with atomic_write(config) as file:
        file.write((json.dumps({"library_name": "mnv2dense", ENTRY: entry}, indent=2) + "\n").encode())
    card = folder / "README.md"
    if not card.exists():
        card.write_text(_model_card(model, repo_id or folder.name, license), encoding="utf-8")
    return folder


def push_to_hub(
    model: DenseModel,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    license: str | None = None,
    commit_message: str = "Upload a model of mnv2dense",
) -> str:
    """Upload what :func:`save_pretrained` writes; the repository is made if need be.

    A model card that is already there is left as it is.

    Args:
        model: with the weights to keep.
        repo_id: ``owner/name``, or a name under the account's own.
        private: whether a new repository is; None is the account's default.
        token: of the hub's account; None takes that of ``hf auth login``.
        revision: branch, made if need be; ``main`` if left out.
        license: of the weights, for a new model card; see :func:`save_pretrained`.
        commit_message: of that commit.

    Returns:
        The commit's address.

    Raises:
        ValueError: a copy of :func:`mnv2dense.split_inference`, or a name that the hub cannot have.
        ImportError: huggingface_hub is not installed.
        OSError: not logged in, not allowed to, or no network.
    """
    check_saveable(model)
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ImportError("Uploading needs huggingface_hub: pip install 'mnv2dense[hub]'.") from error
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        has_card = api.file_exists(repo_id, "README.md", revision=revision)
        return str(
            _hub_model_class()(model, repo_id, license).push_to_hub(
                repo_id,
                token=token,
                branch=revision,
                commit_message=commit_message,
                ignore_patterns=["README.md"] if has_card else None,
            )
        )
    except ValueError:  # a repo_id that cannot be one
        raise
    except Exception as error:  # the hub's HTTP library, and that one's errors, change with its version
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        hint = " Log in with `hf auth login`, or give a token that may write." if status in (401, 403) else ""
        raise OSError(f"{repo_id}: the model was not uploaded to the Hugging Face hub ({reason[0]}).{hint}") from error


@functools.cache
def _hub_model_class() -> Any:  # noqa: ANN401 - a class that exists only where huggingface_hub does
    from huggingface_hub import ModelHubMixin

    class HubModel(ModelHubMixin):
        """The hub's mixin around a model, so that the model itself needs no huggingface_hub."""

        def __init__(self, model: DenseModel, repo_id: str, license: str | None) -> None:
            self.model = model
            self.repo_id = repo_id
            self.license = license

        def _save_pretrained(self, save_directory: Path) -> None:
            save_pretrained(self.model, save_directory, repo_id=self.repo_id, license=self.license)

    return HubModel


def _model_card(model: DenseModel, repo_id: str, license: str | None) -> str:
    """README.md: what the hub sorts by, in YAML, and how to load the model."""
    backbone, head = type(model.backbone).__name__, type(model.head).__name__
    tags = ["mnv2dense", *([backbone.lower()] if isinstance(model.backbone, BACKBONES) else []), "model_hub_mixin"]
    task = HUB_TASKS.get(model.task)
    about = {"license": license, "library_name": "mnv2dense", "pipeline_tag": task}
    lines = [f"{key}: {value}" for key, value in about.items() if value]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    height, width = model.size
    shown = ", ".join(model.class_names[:20]) + (", ..." if len(model.class_names) > 20 else "")
    return "\n".join(
        [
            "---",
            *lines,
            "tags:",
            *(f"- {tag}" for tag in tags),
            "---",
            "",
            f"# {repo_id.rpartition('/')[2]}",
            "",
            f"{backbone} with {head}: {parameters:,} parameters, input of {height} by {width} pixels (height, width),",
            f"{len(model.class_names)} classes: {shown}.",
            "",
            "```python",
            "import mnv2dense",
            "",
            f'model = mnv2dense.from_pretrained("{repo_id}")',
            'results = mnv2dense.Predictor(model)("picture.jpg")',
            "```",
            "",
        ]
    )
