from __future__ import annotations

import pytest
import torch

from mnv2dense.utils.device import device_of


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_there_is_one(there: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of("auto") == torch.device(device)


def test_a_device_is_taken_by_its_word_and_as_it_is() -> None:
    assert device_of("cpu") == device_of(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [("gpu", "device='gpu' is no device of torch; try cpu"), ("cuda:99", "device='cuda:99': torch sees")],
)
def test_a_device_that_is_not_there_is_named(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        device_of(name)
