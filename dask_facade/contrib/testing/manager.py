"""Waiting for what jobs do, in tests: Celery's `Manager`."""

from __future__ import annotations

import itertools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TextIO

from dask_facade import states
from dask_facade.exceptions import TimeoutError
from dask_facade.result import ResultSet

A_WHILE = {"max_retries": 20, "interval_start": 0.1, "interval_step": 0.02, "interval_max": 1.0}


class Sentinel(Exception):
    """What is waited for has not happened yet."""


class ManagerMixin:
    """Waits, joins and asks workers, for a class that has an `app`."""

    app: Any

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.block_timeout = block_timeout
        self.connerrors = self.app.connection().recoverable_connection_errors
        self.no_join = no_join
        self.stderr = stderr or sys.stderr
        self.stdout = stdout or sys.stdout

    def remark(self, s: str, sep: str = "-") -> None:
        """Write a line to standard output."""
        self.stdout.write(f"{sep}{s}\n")

    def warn(self, s: str) -> None:
        """Write a line to standard error."""
        self.stderr.write(f"{s}\n")

    def missing_results(self, r: Iterable[Any]) -> list[str]:
        """Return the ids of the results that have not come."""
        return [each.id for each in r if not each.ready()]

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[..., Any] | None = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """Call *fun* until it raises none of *catch*, and return what it returns."""

        def missed(exc: BaseException, intervals: Iterator[float], retries: int) -> float:
            interval = next(intervals)
            if emit_warning:
                self.warn(f"Still waiting for {desc}. Trying again in {interval} s: {exc!r}")
            if errback is not None:
                errback(exc, interval, retries)
            return interval

        return self.retry_over_time(
            fun,
            catch,
            args=args,
            kwargs=kwargs,
            errback=missed,
            max_retries=max_retries,
            interval_start=interval_start,
            interval_step=interval_step,
            interval_max=interval_max,
        )

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        **policy: Any,
    ) -> None:
        """Raise AssertionError if *fun*, called some times, does not go on raising *catch*."""
        try:
            self.wait_for(fun, catch, desc, **{**A_WHILE, **policy})
        except catch:
            return
        raise AssertionError(f"it has happened: {desc}")

    def retry_over_time(
        self,
        fun: Callable[..., Any],
        catch: Any,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        errback: Callable[..., float] | None = None,
        max_retries: int | None = None,
        interval_start: float = 2,
        interval_step: float = 2,
        interval_max: float = 30,
        **options: Any,
    ) -> Any:
        """Call *fun* until it raises none of *catch*; raise that after *max_retries* more calls."""
        intervals = _intervals(interval_start, interval_step, interval_max)
        for retries in itertools.count():
            try:
                return fun(*args, **(kwargs or {}))
            except catch as error:
                if max_retries is not None and retries >= max_retries:
                    raise
                time.sleep(
                    next(intervals) if errback is None else errback(error, intervals, retries)
                )

    def join(self, r: Any, propagate: bool = False, max_retries: int = 10, **kwargs: Any) -> Any:
        """Return what the jobs of one result, or of several, returned; go on after timeouts."""
        if self.no_join:
            return None
        results = r if isinstance(r, ResultSet) else self.app.ResultSet([r])
        for _ in range(max_retries) if max_retries else itertools.count():
            try:
                return results.get(propagate=propagate, **kwargs)
            except TimeoutError as error:
                missing = self.missing_results(results)
                self.remark(f"Still waiting for {len(missing)}: {missing}: {error!r}", "!")
            except self.connerrors as error:
                self.remark(f"join: the line was lost: {error!r}", "!")
        raise AssertionError("some results have not come in all these tries")

    # What workers say

    def inspect(self, timeout: float = 3.0) -> Any:
        """Return what asks workers."""
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(
        self, ids: Iterable[str], timeout: float = 0.5
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield what each worker says of these jobs."""
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(self, ids: Iterable[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """Return the ids of these jobs by what workers do with them."""
        told = [reply.items() for _, reply in self.query_tasks(ids, timeout)]
        doing: dict[str, set[str]] = defaultdict(set)
        for id, (what, *_) in itertools.chain.from_iterable(told):
            doing[what].add(id)
        return doing

    def assert_accepted(self, ids: Iterable[str], interval: float = 0.5, **policy: Any) -> Any:
        """Wait until workers have begun these jobs."""
        said = {"desc": "workers to begin jobs", **policy}
        return self._until(self.is_accepted, ids, interval, said)

    def assert_received(self, ids: Iterable[str], interval: float = 0.5, **policy: Any) -> Any:
        """Wait until workers know these jobs."""
        said = {"desc": "workers to hear of jobs", **policy}
        return self._until(self.is_received, ids, interval, said)

    def assert_result_tasks_in_progress_or_completed(
        self, async_results: Iterable[Any], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until these jobs run, or have succeeded."""
        said = {"desc": "jobs to run or to have succeeded", **policy}
        return self._until(self.is_result_task_in_progress, async_results, interval, said)

    def assert_task_state_from_result(
        self, fun: Callable[..., Any], results: Iterable[Any], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until *fun* is true of results."""
        return self._until(fun, results, interval, policy)

    @staticmethod
    def is_result_task_in_progress(results: Iterable[Any], **kwargs: Any) -> bool:
        """Tell whether all these jobs run, or have succeeded."""
        return all(result.state in (states.STARTED, states.SUCCESS) for result in results)

    def assert_task_worker_state(
        self, fun: Callable[..., Any], ids: Iterable[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """Wait until *fun* is true of ids."""
        return self._until(fun, ids, interval, policy)

    def _until(
        self, fun: Callable[..., Any], jobs: Iterable[Any], timeout: float, policy: Any
    ) -> Any:
        asked = partial(self.true_or_raise, fun, list(jobs), timeout=timeout)
        return self.wait_for(asked, Sentinel, **policy)

    def is_received(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Tell whether workers know all these jobs."""
        return self._are_in(("reserved", "active", "ready"), ids, **kwargs)

    def is_accepted(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Tell whether workers have begun all these jobs."""
        return self._are_in(("active", "ready"), ids, **kwargs)

    def _are_in(self, wanted: Iterable[str], ids: Iterable[str], timeout: float = 0.5) -> bool:
        asked = list(ids)
        found = self.query_task_states(asked, timeout=timeout)
        known = {id for state in wanted for id in found.get(state, ())}
        return known.issuperset(asked)

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what *fun* returns; raise Sentinel where that is nothing."""
        if not (said := fun(*args, **kwargs)):
            raise Sentinel
        return said

    def wait_until_idle(self) -> None:
        """Take back what has not begun, then wait until nothing runs."""
        control = self.app.control
        with self.app.connection() as connection:
            while control.purge(connection=connection):
                pass
            inspect = control.inspect()
            inspect.connection = connection
            while any((inspect.active() or {}).values()):
                time.sleep(0.02)


class Manager(ManagerMixin):
    """Waits, joins and asks workers, for an app."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        self._init_manager(**options)


def _intervals(start: float, step: float, longest: float) -> Iterator[float]:
    """Yield seconds: each pause is *step* longer than the last, up to *longest*."""
    for number in itertools.count():
        yield min(start + number * step, longest)
