"""Weights by name: the published ones, fetched once and checked; and any repository of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from mnv2dense.pretrained.tensor_files import WEIGHT_SUFFIXES
from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.download import DownloadError, download
from mnv2dense.utils.suggest import near


class Published(NamedTuple):
    """A file that its authors publish.

    Attributes:
        url: where.
        sha256: of the file, as many digits as the authors publish; torchvision's are the 8 in its file names.
        about: what it is, one line.
    """

    url: str
    sha256: str
    about: str


_TORCHVISION = Published(
    "https://download.pytorch.org/models/mobilenet_v2-7ebf99e0.pth",
    "7ebf99e0",
    "torchvision's IMAGENET1K_V2: width 1.0, 72.154 top-1 on ImageNet",
)

PUBLISHED: dict[str, Published] = {
    "torchvision": _TORCHVISION,
    "imagenet": _TORCHVISION,
    "torchvision_v1": Published(
        "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
        "b0353104",
        "torchvision's IMAGENET1K_V1: width 1.0, 71.878 top-1 on ImageNet",
    ),
}
"""Names of single files."""

SHIPPED: dict[str, Path] = {
    "shapes": Path(__file__).parent / "shipped" / "ssdlite_shapes",
}
"""Names of what comes with the package: a small detector of the embedded shapes, made by ``task=detection``."""

GOOGLE_NAMES: dict[str, str] = {
    name: f"google/{name}"
    for name in (
        "mobilenet_v2_1.0_224",
        "mobilenet_v2_1.4_224",
        "mobilenet_v2_0.75_160",
        "mobilenet_v2_0.35_96",
        "deeplabv3_mobilenet_v2_1.0_513",
        "mobilenet_v1_1.0_224",
        "mobilenet_v1_0.75_192",
    )
}
"""Google's names, and the repository that each stands for, where there is no folder called so."""

HUB_NAMES: dict[str, str] = {
    "mobilenetv1_100": "timm/mobilenetv1_100.ra4_e3600_r224_in1k",
    "mobilenetv1_100h": "timm/mobilenetv1_100h.ra4_e3600_r224_in1k",
    "mobilenetv1_125": "timm/mobilenetv1_125.ra4_e3600_r224_in1k",
    "mobilenetv2_050": "timm/mobilenetv2_050.lamb_in1k",
    "mobilenetv2_100": "timm/mobilenetv2_100.ra_in1k",
    "mobilenetv2_110d": "timm/mobilenetv2_110d.ra_in1k",
    "mobilenetv2_120d": "timm/mobilenetv2_120d.ra_in1k",
    "mobilenetv2_140": "timm/mobilenetv2_140.ra_in1k",
}
"""timm's names, and the repository that each stands for."""

_REPOSITORIES = {**HUB_NAMES, **GOOGLE_NAMES}

# As their owners state them, and the hub spells them.
_LICENSES = {
    **dict.fromkeys(SHIPPED, "apache-2.0"),
    **dict.fromkeys(PUBLISHED, "bsd-3-clause"),
    **dict.fromkeys((*_REPOSITORIES, *_REPOSITORIES.values()), "apache-2.0"),
}

# Owner and repository, and after an @ a branch, tag or commit. A path that starts at the root, at home or with a dot is
# none, nor is one of three parts.
_HUB_ID = re.compile(r"(?P<owner>[A-Za-z0-9][\w.-]*)/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def names() -> tuple[str, ...]:
    """What :func:`resolve` knows beside paths and the ids of the hub."""
    return (*SHIPPED, *PUBLISHED, *_REPOSITORIES)


def license_of(weights: str | Path) -> str | None:
    """The licence of published weights, as the hub spells it; None for all others.

    Args:
        weights: as :func:`resolve` takes them. A folder counts as what it is called where it is called like one of
            Google's or timm's repositories, which copies are.
    """
    name = str(weights).partition("@")[0]
    called = Path(name).name
    return _LICENSES.get(name) or (_LICENSES.get(called) if called in _REPOSITORIES else None)


def is_path(weights: str) -> bool:
    """Whether this can only be a path: neither a name nor a repository, for which :func:`resolve` may ask the web."""
    if weights in SHIPPED or weights in PUBLISHED or weights in HUB_NAMES:
        return False
    return Path(weights).exists() or _repository(weights) is None


def resolve(weights: str, *, revision: str | None = None, token: str | bool | None = None) -> Path | None:
    """The file or folder that a name stands for, fetched if it is not here yet.

    A name of :func:`names` comes before a file or folder called so, which may be data: ``./imagenet`` is the folder.
    Only Google's names give way to a folder, as a copy of a repository is called so. ``owner/name`` is a repository of
    the Hugging Face hub, unless there is a folder ``owner``: then it is a path to something missing in it.

    Published files go to ``weights`` in the cache folder (``$MNV2DENSE_CACHE``, else ``~/.cache/mnv2dense``),
    repositories to the hub's own cache, which they share with transformers and timm.

    Args:
        weights: one of :func:`names`, ``owner/name`` or ``owner/name@revision``, or a path.
        revision: branch, tag or commit of a repository.
        token: of the hub's account, for private repositories; None takes that of ``hf auth login``.

    Returns:
        None if this is a path, whether or not something is there.

    Raises:
        FileNotFoundError: a misspelt name, or no such repository.
        DownloadError: the network or the disk failed; the message says how to go on by hand.
        ValueError: the file that came is not the published one; or a revision of what has none.
        ImportError: a repository is asked for and huggingface_hub is not installed.
    """
    if weights in SHIPPED and revision is None:
        return SHIPPED[weights]
    known = weights in PUBLISHED or weights in HUB_NAMES
    if known or not Path(weights).exists():
        repository = _repository(weights)
        if repository is not None:
            return _from_hub(weights, *_one_revision(weights, repository, revision), token)
    if revision is not None:
        raise ValueError(f"weights={weights!r} is no repository of the hub: it has no revision={revision!r}; drop it.")
    if weights in PUBLISHED:
        published = PUBLISHED[weights]
        file = cache_folder() / "weights" / urlsplit(published.url).path.rpartition("/")[2]
        return download(published.url, file, sha256=published.sha256)
    if not Path(weights).exists():
        check_spelling(weights)
    return None


def _repository(weights: str) -> str | None:
    """``owner/name`` or ``owner/name@revision``; None for a path, and for what is more likely one."""
    if weights in _REPOSITORIES:
        return _REPOSITORIES[weights]
    found = _HUB_ID.fullmatch(weights)
    if found is None or weights.lower().endswith(WEIGHT_SUFFIXES) or Path(found["owner"]).is_dir():
        return None
    return weights


def _one_revision(weights: str, repository: str, revision: str | None) -> tuple[str, str | None]:
    """The repository and the revision, which may be named in either of two places."""
    repository, _, own = repository.partition("@")
    if own and revision and own != revision:
        raise ValueError(f"weights={weights!r} names a revision, and revision={revision!r} is another; drop one.")
    return repository, own or revision


def check_spelling(weights: str) -> None:
    """Of what is no path.

    Raises:
        FileNotFoundError: it is nearly a name.
    """
    path = Path(weights)
    if path.name != weights or weights.lower().endswith(WEIGHT_SUFFIXES):
        return
    close = near(weights, names(), count=2, cutoff=0.75)
    if close:
        raise FileNotFoundError(
            f"weights={weights!r}: no such name, file or folder (looked at {path.absolute()}). "
            f"Did you mean {' or '.join(map(repr, close))}? Known names: {', '.join(names())}."
        )


def _from_hub(weights: str, repository: str, revision: str | None, token: str | bool | None) -> Path:
    """The folder of a repository's config and tensors, in the hub's cache.

    The hub's own library checks, resumes and shares between processes, and takes what is in the cache when offline.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"weights={weights!r}: reading {repository} from the Hugging Face hub needs huggingface_hub: "
            f"pip install 'mnv2dense[hub]'.{_or_a_path(weights)}"
        ) from error
    wanted = ["config.json", "preprocessor_config.json", "model.safetensors"]
    try:
        folder = Path(snapshot_download(repository, revision=revision, token=token, allow_patterns=wanted))
        if not (folder / "model.safetensors").is_file():
            # Pickled tensors only where there are no others; their reader refuses what could run.
            wanted.append("pytorch_model.bin")
            folder = Path(snapshot_download(repository, revision=revision, token=token, allow_patterns=wanted))
    except Exception as error:  # its HTTP library, and that one's errors, change with its version
        _explain(error, weights, repository, revision)
    if not any((folder / name).is_file() for name in wanted[2:]):
        raise FileNotFoundError(
            f"weights={weights!r}: {repository} on the Hugging Face hub holds neither model.safetensors nor "
            "pytorch_model.bin; it is no repository of weights for PyTorch."
        )
    return folder


def _explain(error: Exception, weights: str, repository: str, revision: str | None) -> NoReturn:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        raise FileNotFoundError(
            f"weights={weights!r}: {repository} on the Hugging Face hub has no revision {revision!r}."
        ) from error
    if isinstance(error, RepositoryNotFoundError):  # private and gated ones answer the same to a stranger
        raise FileNotFoundError(
            f"weights={weights!r}: the Hugging Face hub has no repository {repository} that this account may read; "
            f"for a private one log in with `hf auth login`.{_or_a_path(weights)}"
        ) from error
    reason = str(error).strip().splitlines() or [type(error).__name__]
    raise DownloadError(
        f"weights={weights!r}: {repository} could not be fetched from the Hugging Face hub ({reason[0]}). By hand: "
        f"put its config.json and model.safetensors into a folder and give that folder.{_or_a_path(weights)}"
    ) from error


def _or_a_path(weights: str) -> str:
    """Two words and a slash are a repository or a folder: who meant the other should read so."""
    if weights in _REPOSITORIES:
        return ""
    return f" If a run folder, a .ckpt or another file was meant: there is none at {Path(weights).absolute()}."
