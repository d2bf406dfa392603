"""What a trained run says where it is stopped before it has its scores."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mnv2dense.workflows.scoring import stopped_in_words

pytestmark = pytest.mark.own_process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_the_scoring_ends_with_the_way_to_the_scores(
    number: signal.Signals, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, stopped_in_words(Path("runs/mine")):
        os.kill(os.getpid(), number)
    assert ended.value.code == code
    assert caplog.messages == [
        f"Stopped by {number.name} in the scoring: training is done, and resume=runs/mine with the same length scores "
        "and reports it."
    ]
    assert signal.getsignal(number) is before
