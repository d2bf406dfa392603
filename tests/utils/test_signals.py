from __future__ import annotations

import os
import signal
import threading

import pytest

from mnv2dense.utils.signals import OneInterrupt

pytestmark = pytest.mark.own_process


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_the_work_and_then_lets_files_be_completed() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with OneInterrupt() as interrupt:
        try:
            with interrupt.work():
                press_ctrl_c()
                done.append("work after Ctrl-C")
        except KeyboardInterrupt:
            press_ctrl_c()
            done.append("the end")
        press_ctrl_c()
        done.append("the files")
    assert done == ["the end", "the files"]
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_ends_the_work_as_ctrl_c_does_and_says_which_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with OneInterrupt() as interrupt:
        with pytest.raises(KeyboardInterrupt), interrupt.work():
            os.kill(os.getpid(), signal.SIGTERM)
        press_ctrl_c()  # while files are completed
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_before_the_work_is_not_forgotten() -> None:
    with OneInterrupt() as interrupt:
        press_ctrl_c()
        with pytest.raises(KeyboardInterrupt), interrupt.work():
            pytest.fail("it was to end before it began")


def test_ctrl_c_after_the_work_changes_nothing() -> None:
    with OneInterrupt() as interrupt:
        with interrupt.work():
            pass
        press_ctrl_c()


def test_a_program_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with OneInterrupt() as interrupt, interrupt.work():
            press_ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one_may_use_it_without_effect() -> None:
    before, worked = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with OneInterrupt() as interrupt, interrupt.work():
            worked.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert worked == [before]
