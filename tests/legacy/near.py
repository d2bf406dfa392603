"""Compare files of version 0.1 with what they answered, up to rounding: ``python -m tests.legacy.near .onnx``.

A process of its own for each runtime, as they do not get along with each other; run by test_legacy.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mnv2dense.utils.renamed import config_now
from tests.helpers.cpu import saturates
from tests.legacy.compare import answers, artefacts_of

FILES = Path(__file__).parent / "v0.1"

# Their int8 answers were stored where products of int8 overflow. Elsewhere they are nearer to the model, and the order
# of what hardly trained models are equally unsure of is another one: what the network gives still has to go along.
OVERFLOWED = (".onnx", ".xml")
LEAST_CORRELATION, MOST_PIXELS = 0.7, 1.0


def check(artefact: Path, stored: Path) -> None:
    """Refuse answers that are not those of then, by an AssertionError that names them."""
    with np.load(stored) as file:
        old = {key: file[key] for key in file.files}
    new = answers(artefact, FILES / "picture.png")
    assert old.keys() == new.keys()
    if "int8" in stored.stem and artefact.suffix in OVERFLOWED and not saturates():
        for name in [key for key in old if key.startswith("raw")]:
            one, other = old.pop(name), new[name]
            assert (one.shape, one.dtype) == (other.shape, other.dtype), f"{artefact.name}: {name}"
            if one.shape[-1] == 4:  # boxes, of which the anchors alone are nearly all
                assert np.abs(one - other).mean() < MOST_PIXELS, f"{artefact.name}: {name}"
            assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > LEAST_CORRELATION, f"{artefact.name}: {name}"
        old = {key: array for key, array in old.items() if not key.startswith("predict")}
    for name, array in old.items():
        _same(f"{artefact.name}: {name}", name, array, new[name], is_int8="int8" in stored.stem)


def _same(where: str, name: str, old: np.ndarray[Any, Any], new: np.ndarray[Any, Any], *, is_int8: bool) -> None:
    if name == "config":  # classes have public addresses now
        assert json.loads(str(new)) == config_now(json.loads(str(old))), where
    elif name in ("predictor.to_dict", "predictor.to_coco"):
        return  # texts of the numbers that stand beside them
    elif old.dtype.kind == "f":
        assert old.shape == new.shape, where
        np.testing.assert_allclose(new, old, rtol=1e-3, atol=0.5 if is_int8 else 2e-3, err_msg=where)
    elif old.dtype.kind in "iu":
        assert old.shape == new.shape, where
        assert (old == new).mean() >= (0.9 if is_int8 else 0.99), where
    else:
        assert old.tolist() == new.tolist(), where


if __name__ == "__main__":
    found = [pair for pair in artefacts_of(FILES) if pair[0].suffix == sys.argv[1]]
    assert found, sys.argv
    for pair in found:
        check(*pair)
    print(f"{len(found)} files answer as they did")
