"""The root of errors that are no bugs."""

from __future__ import annotations


class UserError(Exception):
    """What a user can cause and mend; the message says what is wrong and what to do, and no trace need be shown."""
