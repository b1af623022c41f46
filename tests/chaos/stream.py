"""A process that submits small jobs at a rate: ``python -m tests.chaos.stream RATE SECONDS``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from tests.chaos.system import set_up

TICK = 0.05  # seconds between two bunches


def main(arguments: Sequence[str]) -> int:
    """Submit; return the exit status."""
    rate, seconds = map(float, arguments)
    set_up()
    from tests.chaos import tasks  # there is an app by now

    print("submits", flush=True)
    begun, count = time.monotonic(), 0
    while (passed := time.monotonic() - begun) < seconds:
        while count < passed * rate:
            tasks.nothing.delay(count)
            count += 1
        time.sleep(TICK)
    print(f"{count} are submitted", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
