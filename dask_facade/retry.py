"""When a call that failed is tried again: the arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from one retry to the next, as Celery's ``retry_backoff`` has them."""

    factor: int  # seconds before the first retry
    maximum: int  # seconds
    jitter: bool  # any time up to that, so that what failed together is not tried together

    def countdown(self, retries: int, below: Callable[[int], int]) -> int:
        """Return the seconds before the next retry, after *retries* of them.

        *below* returns a random number from 0 up to, and without, its argument.
        """
        exponent = min(retries, self.maximum.bit_length())  # beyond, the maximum holds anyway
        seconds: int = min(self.maximum, self.factor * 2**exponent)
        return max(0, below(seconds + 1) if self.jitter else seconds)


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Return the seconds before the next retry, after *retries* of them, under Celery's name."""
    return Backoff(factor, maximum, full_jitter).countdown(retries, random.randrange)


def is_exhausted(retries: int, max_retries: int | None) -> bool:
    """Tell whether the retry that would be number *retries* (from 1) is one too many."""
    return max_retries is not None and retries > max_retries
