"""The workloads in plain Dask's words."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from distributed import Client

from tests.benchmarks.functions import add, echo, total
from tests.benchmarks.workloads import TIMEOUT, Measured, expect, latencies


class Futures:
    """The workloads, one method each, on the cluster of *client*."""

    lacks: Mapping[str, str] = {}

    def __init__(self, client: Client) -> None:
        self._client = client

    def succeeded(self) -> int | None:
        """Return None: Dask forgets."""
        return None

    def lone(self, size: int) -> Measured:
        """One call after another, each waited for."""
        seconds = []
        for number in range(size):
            start = perf_counter()
            result = self._submit(echo, number).result(TIMEOUT)
            seconds.append(perf_counter() - start)
            expect(result, number)
        return latencies(seconds)

    def loop(self, size: int) -> Measured:
        """Many calls sent one by one, then all their results."""
        start = perf_counter()
        sent = [self._submit(echo, number) for number in range(size)]
        submitted = perf_counter() - start
        results = self._client.gather(sent)
        seconds = perf_counter() - start
        expect(results, list(range(size)))
        return Measured({"submit_5k": size / submitted, "delay_5k": size / seconds}, size)

    def group(self, size: int) -> Measured:
        """Many calls sent at once."""
        start = perf_counter()
        results = self._client.gather(self._client.map(echo, range(size), pure=False))
        seconds = perf_counter() - start
        expect(results, list(range(size)))
        return Measured({"group_10k": size / seconds}, size)

    def chord(self, size: int) -> Measured:
        """The sum of what many calls return."""
        start = perf_counter()
        header = self._client.map(echo, range(size), pure=False)
        result = self._submit(total, header).result(TIMEOUT)
        seconds = perf_counter() - start
        expect(result, sum(range(size)))
        return Measured({"chord_1k": 1e3 * seconds}, size + 1)

    def chain(self, size: int) -> Measured:
        """Calls that each take what the one before returned."""
        start = perf_counter()
        step = self._submit(add, 0, 1)
        for _ in range(size - 1):
            step = self._submit(add, step, 1)
        result = step.result(TIMEOUT)
        seconds = perf_counter() - start
        expect(result, size)
        return Measured({"chain_100": 1e3 * seconds}, size)

    def _submit(self, function: Any, *args: Any) -> Any:
        return self._client.submit(function, *args, pure=False)
