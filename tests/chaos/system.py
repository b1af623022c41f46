"""Which system runs the jobs: this package, or Celery itself for comparison."""

from __future__ import annotations

import os

if os.environ.get("CHAOS_SYSTEM") == "celery":
    from tests.chaos.celery_words import (
        AWAY,
        TAKEN,
        chain,
        chord,
        result_of,
        set_up,
        shared_task,
        start_anew,
    )
else:
    from tests.chaos.facade_words import (
        AWAY,
        TAKEN,
        chain,
        chord,
        result_of,
        set_up,
        shared_task,
        start_anew,
    )

__all__ = ["AWAY", "TAKEN", "chain", "chord", "result_of", "set_up", "shared_task", "start_anew"]
