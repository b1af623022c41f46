"""A process's line to the dispatcher: hints out, ends of jobs in."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from dask_facade.dispatcher.dialling import dial_leader, leads
from dask_facade.dispatcher.inquiries import Inquiries, Inquiry
from dask_facade.exceptions import LineClosed
from dask_facade.ids import new_id
from dask_facade.ledger.store import JobStore
from dask_facade.line import DialledLine
from dask_facade.messages import (
    CLIENT,
    Answer,
    Ask,
    Asked,
    Call,
    Message,
    Nudge,
    Offer,
    Outcome,
    Push,
    Unsure,
    Unwait,
    Wait,
)

logger = logging.getLogger(__name__)

OFFER_CALLS = 1_000  # calls in one message
OFFER_BYTES = 8 * 2**20  # of arguments in one message
BUFFER = 1_000  # hints that wait for a line; what does not fit is found by the dispatcher
DIAL_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds between attempts, the last repeated
GIVE_UP_AFTER = 4  # attempts, when nobody waits


class Watch:
    """Some jobs that somebody waits for; what is heard of them lies here until it is taken.

    A thread waits in `take`. An event loop takes without waiting whenever *wake* was called, which
    happens on the line's thread, with its lock held.
    """

    def __init__(
        self,
        ids: Iterable[str],
        changed: threading.Condition,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self.ids = set(ids)
        self.outcomes: list[Outcome] = []
        self.unsure: set[str] = set()  # the ledger must be asked
        self.wake = wake
        self._changed = changed

    def take(self, timeout: float) -> tuple[list[Outcome], set[str]]:
        """Wait up to *timeout* seconds for news and return it: ends, and ids to look up."""
        with self._changed:
            self._changed.wait_for(lambda: self.outcomes or self.unsure, timeout)
            outcomes, self.outcomes = self.outcomes, []
            unsure, self.unsure = self.unsure, set()
        return outcomes, unsure


class DispatcherClient:
    """The line of this process. It is dialled by a thread, when there is something to say.

    Nothing here raises when the dispatcher is away: hints are spared, watches go to the ledger.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._reset()
        _clients.add(self)

    def start_anew(self) -> None:
        """Forget what the parent of this forked child has: its line stays up."""
        line = self._line
        self._reset()
        if line is not None:
            line.abandon()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._dialling = False
        self._heard = 0.0  # monotonic: when the line last said anything, or was looked after
        self._hints: deque[Sequence[Call]] = deque()
        self._inquiries = Inquiries(self._changed)
        self._line: DialledLine | None = None
        self._minds = False  # something was said on the line, or is waited for
        self._nudges = False  # one waits for a line
        self._watches: dict[str, set[Watch]] = {}
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether the line is up."""
        return self._line is not None

    def offer(self, calls: Sequence[Call]) -> None:
        """Hint at calls whose rows are committed. Never waits, never raises."""
        for part in _slices(calls):
            line = self._line
            if line is None or not self._post(line, Offer(part)):
                self._offer_later(part)

    def _offer_later(self, hint: Sequence[Call]) -> None:
        """Keep *hint* for the next line, unless that is up by now."""
        with self._changed:
            if self._line is None or not self._post(self._line, Offer(hint)):
                if len(self._hints) < BUFFER:
                    self._hints.append(hint)
                self._dial_in_background()

    def nudge(self) -> None:
        """Say that the ledger has requests, once they are committed. Never waits, never raises."""
        with self._changed:
            if self._line is None or not self._post(self._line, Nudge()):
                self._nudges = True
                self._dial_in_background()

    def watch(self, ids: Iterable[str], wake: Callable[[], None] | None = None) -> Watch:
        """Ask to be told of the ends of these jobs. Give it back to `unwatch`."""
        with self._changed:
            watch = Watch(ids, self._changed, wake)
            for id in watch.ids:
                self._watches.setdefault(id, set()).add(watch)
            line = self._line
            if line is None:
                watch.unsure = set(watch.ids)
                self._dial_in_background()
            else:
                self._post(line, Wait(list(watch.ids)))
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Stop waiting."""
        with self._changed:
            left = [id for id in watch.ids if self._forget(id, watch)]
            if self._line is not None and left:
                self._post(self._line, Unwait(left))

    def ask(
        self,
        ask: Ask,
        timeout: float,
        heard: Callable[[str, bytes], None],
        limit: int | None = None,
    ) -> bool:
        """Ask workers; *heard* gets each one's name and answer, until all are there.

        Not more than *limit* of them, and none after *timeout* seconds. Tells whether a dispatcher
        has passed the question on; where there is no line, that time is given to dialling it.
        """
        return self._inquire(ask, lambda each: self._inquiries.wait(each, timeout, heard, limit))

    def tell(self, ask: Ask, timeout: float) -> bool:
        """Tell workers, without their answers; tell whether a dispatcher has passed that on."""
        return self._inquire(ask, lambda each: self._inquiries.wait_until_asked(each, timeout))

    def _inquire(self, ask: Ask, wait: Callable[[Inquiry], None]) -> bool:
        with self._changed:
            inquiry = self._inquiries.open(ask)
            if self._line is None or not self._post(self._line, inquiry.ask):
                self._dial_in_background()
        try:
            wait(inquiry)
        finally:
            self._inquiries.close(inquiry)
        return inquiry.nodes is not None

    def close(self) -> None:
        """End the line."""
        with self._changed:
            self._closed = True
            line = self._line
            self._changed.notify_all()
        if line is not None:
            line.close()

    def _forget(self, id: str, watch: Watch) -> bool:
        """Remove a watch; tell whether nobody watches the job any more."""
        watches = self._watches.get(id)
        if watches is None:
            return False
        watches.discard(watch)
        if not watches:
            del self._watches[id]
        return not watches

    def _post(self, line: DialledLine, message: Message) -> bool:
        """Post without waiting; False: the line is gone. A line that is full loses what it gets."""
        self._minds = True
        try:
            line.post(message)
        except LineClosed:
            logger.debug("the line went; its reader dials again")
            return False
        return True

    # On the line's reader

    def _receive(self, messages: Sequence[Message]) -> None:
        self._heard = time.monotonic()
        news: set[Watch] = set()
        with self._changed:
            for message in messages:
                match message:
                    case Push(outcomes):
                        for outcome in outcomes:
                            for watch in self._watches.pop(outcome.id, ()):
                                watch.outcomes.append(outcome)
                                watch.ids.discard(outcome.id)
                                news.add(watch)
                    case Unsure(ids):
                        news |= self._doubt(ids)
                    case Asked() | Answer():
                        self._inquiries.hear(message)
            self._tell(news)

    def _waits_on(self) -> bool:
        """Tell whether to wait on for a dispatcher: not once it is silent and another one leads.

        The system of one that is stopped still answers for it: its line does not end. It is looked
        after once in a lease, by who has told it something or waits.
        """
        line, now = self._line, time.monotonic()
        if line is None or not self._minds or now - self._heard <= line.welcome.lease:
            return True
        self._heard, self._minds = now, bool(self._watches)
        return leads(self._store, line)

    def _line_ended(self) -> None:
        with self._changed:
            self._line = None
            if self._watches or self._hints or self._nudges or self._inquiries:
                self._dial_in_background()
            self._tell(self._doubt(self._watches))

    def _doubt(self, ids: Iterable[str]) -> set[Watch]:
        """Send who waits for these jobs to the ledger; return them."""
        news = set()
        for id in ids:
            for watch in self._watches.get(id, ()):
                watch.unsure.add(id)
                news.add(watch)
        return news

    def _tell(self, news: set[Watch]) -> None:
        self._changed.notify_all()
        for watch in news:
            if watch.wake is not None:
                watch.wake()

    # Dialling

    def _dial_in_background(self) -> None:
        """Start the dialling thread unless it runs; the lock is held."""
        if self._line is None and not self._dialling and not self._closed:
            thread = threading.Thread(target=self._dial, name="dask-facade-dial", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter ends, or has no thread left
                logger.debug("the line cannot be dialled: no thread can be started")
            else:
                self._dialling = True

    def _dial(self) -> None:
        attempt = 0
        while True:
            identity = f"client-{socket.gethostname()}-{os.getpid()}-{new_id()}"
            line = dial_leader(self._store, CLIENT, identity)
            with self._changed:
                if line is not None and self._closed:
                    line.close()
                    line = None
                if line is not None:
                    self._serve(line)
                if line is not None or self._closed or self._nobody_cares(attempt):
                    self._dialling = False
                    break
                self._changed.wait(DIAL_PAUSES[min(attempt, len(DIAL_PAUSES) - 1)])
            attempt += 1

    def _serve(self, line: DialledLine) -> None:
        """Post what was kept, and only then let others post to *line*; the lock is held."""
        while self._hints and self._post(line, Offer(self._hints[0])):
            self._hints.popleft()
        if self._nudges:
            self._nudges = not self._post(line, Nudge())
        if self._watches:
            self._post(line, Wait(list(self._watches)))
        for ask in self._inquiries.unasked():
            self._post(line, ask)
        self._heard = time.monotonic()
        line.start(self._receive, self._line_ended, self._waits_on)
        self._line = line

    def _nobody_cares(self, attempt: int) -> bool:
        if self._watches or self._inquiries or attempt < GIVE_UP_AFTER:
            return False
        self._hints.clear()  # the dispatcher finds their rows when it comes, and requests
        self._nudges = False
        return True


_clients: weakref.WeakSet[DispatcherClient] = weakref.WeakSet()


def _start_anew() -> None:
    for client in _clients:
        client.start_anew()


os.register_at_fork(after_in_child=_start_anew)


def _slices(calls: Sequence[Call]) -> Iterable[Sequence[Call]]:
    part: list[Call] = []
    size = 0
    for call in calls:
        if part and (len(part) == OFFER_CALLS or size + len(call.payload) > OFFER_BYTES):
            yield part
            part, size = [], 0
        part.append(call)
        size += len(call.payload)
    if part:
        yield part
