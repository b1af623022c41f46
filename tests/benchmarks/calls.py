"""The workloads in Celery's words: the same code for Celery and for dask_facade."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from tests.benchmarks.workloads import TIMEOUT, Measured, expect, latencies


class Calls:
    """The workloads, one method each, with the tasks and the canvas of *site*, a peer's module."""

    lacks: Mapping[str, str] = {}

    def __init__(self, site: Any) -> None:
        self._site = site

    def succeeded(self) -> int | None:
        """Return how many jobs have, ever; None where nobody keeps count, as in Redis."""
        return None

    def lone(self, size: int) -> Measured:
        """One call after another, each waited for."""
        echo, seconds = self._site.echo, []
        for number in range(size):
            start = perf_counter()
            result = echo.delay(number).get(timeout=TIMEOUT)
            seconds.append(perf_counter() - start)
            expect(result, number)
        return latencies(seconds)

    def loop(self, size: int) -> Measured:
        """Many calls sent one by one, then all their results."""
        echo = self._site.echo
        start = perf_counter()
        sent = [echo.delay(number) for number in range(size)]
        submitted = perf_counter() - start
        results = [each.get(timeout=TIMEOUT) for each in sent]
        seconds = perf_counter() - start
        expect(results, list(range(size)))
        return Measured({"submit_5k": size / submitted, "delay_5k": size / seconds}, size)

    def group(self, size: int) -> Measured:
        """Many calls sent at once."""
        echo, group = self._site.echo, self._site.group
        start = perf_counter()
        results = group(echo.s(number) for number in range(size))().get(timeout=TIMEOUT)
        seconds = perf_counter() - start
        expect(results, list(range(size)))
        return Measured({"group_10k": size / seconds}, size)

    def chord(self, size: int) -> Measured:
        """The sum of what many calls return."""
        echo, chord, total = self._site.echo, self._site.chord, self._site.total
        start = perf_counter()
        result = chord(echo.s(number) for number in range(size))(total.s()).get(timeout=TIMEOUT)
        seconds = perf_counter() - start
        expect(result, sum(range(size)))
        return Measured({"chord_1k": 1e3 * seconds}, size + 1)

    def chain(self, size: int) -> Measured:
        """Calls that each take what the one before returned."""
        add, chain = self._site.add, self._site.chain
        start = perf_counter()
        result = chain(add.s(0, 1), *(add.s(1) for _ in range(size - 1)))().get(timeout=TIMEOUT)
        seconds = perf_counter() - start
        expect(result, size)
        return Measured({"chain_100": 1e3 * seconds}, size)
