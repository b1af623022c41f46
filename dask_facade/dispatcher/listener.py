"""The line of a process that runs no calls, and answers to a name of its own when it is asked."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from dask_facade.dispatcher.dialling import dial_leader
from dask_facade.exceptions import LineClosed
from dask_facade.ids import new_id
from dask_facade.ledger.store import JobStore
from dask_facade.line import DialledLine
from dask_facade.messages import NODE, Answer, Ask, Message

logger = logging.getLogger(__name__)

DIAL_PAUSE = 0.5  # seconds between two attempts


class Listener:
    """Keeps a line to the leading dispatcher, by a thread, and lets *answer* say what is asked.

    It returns what JSON says, or None to keep silent.
    """

    def __init__(self, store: JobStore, node: str, answer: Callable[[Ask], bytes | None]) -> None:
        self._answer = answer
        self._ended = threading.Event()  # the line
        self._line: DialledLine | None = None
        self._node = node
        self._stop = threading.Event()
        self._store = store
        self._thread = threading.Thread(target=self._keep, name="dask-facade-listen", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the line and the thread."""
        self._stop.set()
        self._ended.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._stop.is_set():
            identity = f"node-{self._node}-{new_id()}"
            line = dial_leader(self._store, NODE, identity, node=self._node, pid=os.getpid())
            if line is None:
                self._stop.wait(DIAL_PAUSE)
                continue
            self._ended.clear()
            if not self._stop.is_set():
                self._line = line
                line.start(self._receive, self._ended.set)
                self._ended.wait()
            line.close()

    def _receive(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Ask) and self._line is not None:
                said = self._answer(message)
                if said is not None:
                    try:
                        self._line.post(Answer(message.number, self._node, said))
                    except LineClosed:
                        logger.debug("the line went; it is dialled again")
