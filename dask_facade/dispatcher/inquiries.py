"""What a process has asked workers, and what they have answered so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dask_facade.messages import Answer, Ask, Asked


@dataclass(slots=True, eq=False)
class Inquiry:
    """One question. All that is heard of it is heard under the lock of its line."""

    ask: Ask
    nodes: set[str] | None = None  # who will answer; None: nobody was asked yet
    answers: dict[str, bytes] = field(default_factory=dict)  # by the worker's name

    @property
    def is_answered(self) -> bool:
        """Whether all have answered."""
        return self.nodes is not None and self.nodes <= self.answers.keys()


class Inquiries:
    """The questions of a process that are open, by number; *changed* is the lock of its line."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._last = 0
        self._open: dict[int, Inquiry] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, ask: Ask) -> Inquiry:
        """Return a question with a number of its own; the lock is held."""
        self._last += 1
        inquiry = self._open[self._last] = Inquiry(ask._replace(number=self._last))
        return inquiry

    def close(self, inquiry: Inquiry) -> None:
        """Wait for no more answers."""
        with self._changed:
            self._open.pop(inquiry.ask.number, None)

    def unasked(self) -> list[Ask]:
        """Return the questions that no dispatcher has passed on yet; the lock is held."""
        return [each.ask for each in self._open.values() if each.nodes is None]

    def hear(self, message: Asked | Answer) -> None:
        """Take an answer in; the lock is held."""
        inquiry = self._open.get(message.number)
        if inquiry is None:
            return
        match message:
            case Asked(_, nodes):
                inquiry.nodes = set(nodes)
            case Answer(_, node, said):
                inquiry.answers[node] = said

    def wait(
        self,
        inquiry: Inquiry,
        timeout: float,
        heard: Callable[[str, bytes], None],
        limit: int | None,
    ) -> None:
        """Give *heard* each answer, until all are there, or *limit* of them, or the time is up."""
        deadline = time.monotonic() + timeout
        told: set[str] = set()
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: inquiry.is_answered or len(inquiry.answers) > len(told),
                    max(0.0, deadline - time.monotonic()),
                )
                new = {n: said for n, said in inquiry.answers.items() if n not in told}
                over = inquiry.is_answered
            for node, said in new.items():
                heard(node, said)
                told.add(node)
            if over or not new or (limit is not None and len(told) >= limit):
                return

    def wait_until_asked(self, inquiry: Inquiry, timeout: float) -> None:
        """Wait until a dispatcher has passed a question on."""
        with self._changed:
            self._changed.wait_for(lambda: inquiry.nodes is not None, timeout)
