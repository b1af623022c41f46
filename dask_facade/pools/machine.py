"""What this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

ASK_TIMEOUT = 10.0  # seconds


def processors_here() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpus_here(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return tuple(name for each in said.split(",") if (name := each.strip()))
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        asked = subprocess.run(
            [program, "--list-gpus"],
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(number) for number, _ in enumerate(asked.stdout.splitlines()))
