"""The processors of a worker, as its tasks share them by their ``nproc``.

Each is a file that a task locks. The kernel lets go of it when the task's process ends, in
whatever way, so none is ever lost.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

FOLDER = "DASK_FACADE_POOL_SLOTS"
"""The environment variable that names the folder of a worker's slots; unset: nobody counts."""

LOOK_EVERY = 0.02  # seconds
_GATE = "gate"


def make(folder: Path, count: int) -> None:
    """Make *count* slots."""
    folder.mkdir(parents=True)
    for name in (_GATE, *(f"slot-{number}" for number in range(count))):
        (folder / name).touch()


@contextmanager
def taken(count: int) -> Iterator[None]:
    """Have *count* of this worker's slots for the block; wait until there are as many.

    Who came first gets them first. More than there are means all of them.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        yield
        return
    with ExitStack() as held:
        with (Path(folder) / _GATE).open() as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            free = sorted(Path(folder).glob("slot-*"))
            wanted = min(count, len(free))
            got = 0
            while got < wanted:
                for path in list(free):
                    if got < wanted and _locked(path, held):
                        free.remove(path)
                        got += 1
                if got < wanted:
                    time.sleep(LOOK_EVERY)
        yield


def _locked(path: Path, held: ExitStack) -> bool:
    file = path.open()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True
