"""How many bytes of activations are alive at once, observed while a model runs."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@final
class ActivationMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Follows the memory of every tensor that is made while it is entered, from its making to its release.

    It counts what eager execution holds on to, deterministically and on any device, ``meta`` included, where the same
    tensors live and die without their arithmetic. Views share their memory and are counted once. What a kernel takes
    and gives back inside one operation (a convolution's workspace) is its backend's own affair and is not seen.

    Enter it under ``torch.no_grad()``: autograd would keep activations alive, and ``torch.inference_mode()`` hides
    the parts of composite operations.

    Args:
        known: tensors that are there already and are not activations: weights, buffers, the input image.

    Attributes:
        held: bytes alive now.
        peak: the most that were alive at once.
        window_peak: the most since :meth:`open_window`.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = 0
        self.peak = 0
        self.window_peak = 0
        # Kept alive, so that no activation can be given the same address.
        self._known = [tensor.untyped_storage() for tensor in known]
        self._bytes_of = {storage._cdata: 0 for storage in self._known}

    def open_window(self) -> None:
        """Begin to observe :attr:`window_peak` anew, from what is alive now."""
        self.window_peak = self.held

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, to keep it from what happens here

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._take_note(tensor)
        return result

    def _take_note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._bytes_of:
            return
        self._bytes_of[key] = storage.nbytes()
        self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)
        self.window_peak = max(self.window_peak, self.held)
        # The Python object of a storage lives as long as the memory itself, whoever holds that.
        weakref.finalize(storage, self._release, key).atexit = False

    def _release(self, key: int) -> None:
        self.held -= self._bytes_of.pop(key)
