"""Standard error without what native libraries write to it while all goes well."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_notes_held_back() -> Iterator[None]:
    """Keep what C++ code logs in the block from being seen; after an error it is written after all, as it may tell why.

    Such code writes to the process's file, past ``sys.stderr`` and the levels of ``logging``. For short blocks: what
    other threads write meanwhile is held back too.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        shown = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
