"""The errors of kombu and billiard that ours are kinds of, where those are installed.

Projects catch them by those packages' names, too. They come with the extra ``celery``; without it
plain classes of the same names take their places, which nobody else knows.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING or find_spec("billiard") is None:

    class SoftTimeLimitExceeded(Exception):
        """The soft time limit is over."""

    class Terminated(Exception):
        """The process was asked to end."""

    class TimeLimitExceeded(Exception):
        """The time limit is over."""

    class WorkerLostError(Exception):
        """The process is gone."""

else:
    from billiard.exceptions import (
        SoftTimeLimitExceeded,
        Terminated,
        TimeLimitExceeded,
        WorkerLostError,
    )

if TYPE_CHECKING or find_spec("kombu") is None:

    class DecodeError(Exception):
        """Something cannot be read back."""

    class EncodeError(Exception):
        """Something cannot be said."""

    class OperationalError(Exception):
        """What should take a message does not answer."""

else:
    from kombu.exceptions import DecodeError, EncodeError, OperationalError

__all__ = [
    "DecodeError",
    "EncodeError",
    "OperationalError",
    "SoftTimeLimitExceeded",
    "Terminated",
    "TimeLimitExceeded",
    "WorkerLostError",
]
