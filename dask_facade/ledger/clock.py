"""The time of a database's server, which due times follow."""

from __future__ import annotations

import math
import time

SERVER_TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"
HOLDS = 60.0  # seconds for which an answer is good: what two machines drift apart in that is little


class ServerClock:
    """The server's time, which goes on by our own steady clock between its answers.

    So it makes no difference what our own wall clock says, or that somebody sets it.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._heard = -math.inf

    @property
    def is_stale(self) -> bool:
        """Whether the server should be asked before `now` is believed."""
        return time.monotonic() - self._heard > HOLDS

    def hear(self, seconds: float) -> None:
        """Know that the server's time is *seconds* since the epoch just now."""
        self._heard = time.monotonic()
        self._ahead = seconds - self._heard

    def now(self) -> float:
        """Return the server's time in seconds since the epoch; ours before it was ever heard."""
        return time.time() if self._heard == -math.inf else time.monotonic() + self._ahead
