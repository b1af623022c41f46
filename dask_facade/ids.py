"""Job ids: UUIDs of version 7 (RFC 9562), so that rows index in the order of their making."""

from __future__ import annotations

import hashlib
import os
import time

_VERSION = 0x7 << 76
_DERIVED = 0x8 << 76
_VARIANT = 0x2 << 62


def new_id() -> str:
    """Return a new id in UUID form: 48 bits of milliseconds, 12 of their fraction, 62 random."""
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    random = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = (milliseconds << 80) | _VERSION | ((rest * 4096 // 1_000_000) << 64) | _VARIANT | random
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_id(name: str, moment: float) -> str:
    """Return the one id of what *name* does at *moment* (seconds since the epoch), in UUID form.

    A UUID of version 8, which also indexes in the order of time.
    """
    digest = hashlib.sha256(f"{moment:.6f} {name}".encode()).digest()
    rest = int.from_bytes(digest[:10], "big") & ~(0xF << 76) & ~(0x3 << 62)
    digits = f"{(int(moment * 1000) << 80) | _DERIVED | _VARIANT | rest:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
