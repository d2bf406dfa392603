"""onnxruntime for browsers: fetched once from the npm registry, of one version and one hash, and kept for good."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePosixPath

from mnv2dense.utils.cache import cache_folder
from mnv2dense.utils.download import DownloadError, download, sha256_of
from mnv2dense.utils.files import atomic_write

VERSION = "1.30.0"
"""Of the npm package onnxruntime-web."""

FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""What a page needs of it: the runtime for CPUs (SIMD and threads), and the one for WebGPU."""

# Of the package's tarball, whose npm integrity is
# sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==
_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"

_ARCHIVE = f"onnxruntime-web-{VERSION}.tgz"


def runtime_folder(archive: str | Path | None = None, *, sha256: str = _SHA256, progress: bool = True) -> Path:
    """The folder that holds :data:`FILES`, in the cache; filled at the first use, without network from then on.

    The registry is ``$NPM_CONFIG_REGISTRY`` (or ``$npm_config_registry``), else npm's own.

    Args:
        archive: the tarball, where it was fetched by hand (``npm pack onnxruntime-web@...``); nothing is downloaded.
        sha256: of the tarball.
        progress: whether to show a bar while it comes, where there is a terminal.

    Raises:
        FileNotFoundError: no such ``archive``.
        ValueError: it is another file, or the registry has another.
        DownloadError: the registry is not reached, or the cache cannot be written; the message says what to do by hand.
    """
    folder = cache_folder() / f"onnxruntime-web-{VERSION}"
    if archive is not None:
        path = Path(archive)
        if not path.is_file():
            raise FileNotFoundError(f"runtime={path}: no such file; `npm pack onnxruntime-web@{VERSION}` makes it.")
        if (found := sha256_of(path)) != sha256:
            raise ValueError(
                f"runtime={path} has the sha256 {found}, but onnxruntime-web {VERSION} has {sha256}; "
                f"fetch it again with `npm pack onnxruntime-web@{VERSION}`."
            )
        return _extract(path, folder)
    if all((folder / name).is_file() for name in FILES):
        return folder
    target = folder / _ARCHIVE
    try:
        download(f"{_registry()}/onnxruntime-web/-/{_ARCHIVE}", target, sha256=sha256, progress=progress)
    except DownloadError as error:
        raise DownloadError(
            f"{error} Or, where npm works: `npm pack onnxruntime-web@{VERSION}`, and runtime={_ARCHIVE} here."
        ) from error
    _extract(target, folder)
    target.unlink(missing_ok=True)
    return folder


def _registry() -> str:
    """As npm itself is told of another one."""
    named = os.environ.get("NPM_CONFIG_REGISTRY") or os.environ.get("npm_config_registry")  # noqa: SIM112 - npm spells it so, too
    return (named or "https://registry.npmjs.org").rstrip("/")


def _extract(archive: Path, folder: Path) -> Path:
    """Take :data:`FILES` alone, by their exact names, and only where they are plain files."""
    wanted = {PurePosixPath("package/dist") / name for name in FILES}
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            content = tar.extractfile(member) if name in wanted and member.isreg() else None
            if content is not None:
                with content, atomic_write(folder / name.name) as file:
                    while chunk := content.read(1 << 20):
                        file.write(chunk)
                wanted.discard(name)
    if wanted:
        missing = ", ".join(sorted(name.name for name in wanted))
        raise ValueError(f"{archive}: there is no {missing} in it; it is not onnxruntime-web {VERSION}.")
    return folder
