"""The root of errors that are no bugs, and who raised an error."""

from __future__ import annotations

import dis

_RAISE = dis.opmap["RAISE_VARARGS"]


class UserError(Exception):
    """What a user can cause and mend; the message says what is wrong and what to do, and no trace need be shown."""


def refused_by(error: BaseException) -> str | None:
    """The package that raised an error on purpose, by a ``raise`` of its own; None where no such statement did."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # What C code raises, as most of torch and numpy does, has no frame of its own: there the instruction is a call.
    if trace is None or trace.tb_frame.f_code.co_code[trace.tb_lasti] != _RAISE:
        return None
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
