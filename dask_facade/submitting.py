"""From a signature to rows in the ledger, or to results at once; and to its result object."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from dask_facade import current, graphs, publishing, result
from dask_facade.canvas import Signature
from dask_facade.control import ask
from dask_facade.current import Channel
from dask_facade.eager import LocalRun
from dask_facade.endings import Ending, Many, One, joins
from dask_facade.exceptions import DuplicateTaskId, ResultLost
from dask_facade.ids import new_id
from dask_facade.jobs import FORGET
from dask_facade.ledger.store import calls_of
from dask_facade.messages import Edge, NewJob
from dask_facade.options import Defaults, defaults_of
from dask_facade.plan import Plan, compile_plan
from dask_facade.registry import Runnable, tasks
from dask_facade.serialization import Known, Refer
from dask_facade.signals import before_task_publish
from dask_facade.submitter import Submitter

Submitted = result.AsyncResult | result.GroupResult
PAYLOAD_LIMIT = 16 * 2**20  # bytes of arguments
FORGET_PAUSE = 0.01  # seconds
FORGET_WAIT = 10.0  # seconds for a dispatcher to forget what makes way
SLOW = 0.2  # seconds for a member of a generator: those before it are submitted by then
HINT_AHEAD = 2.0  # seconds ahead of an eta: later ones are found in the ledger when it nears


class Submitting:
    """How an app submits."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def is_eager(self, signature: Signature) -> bool:
        """Tell whether it runs here; a task that nobody knows here cannot."""
        if not self._app.conf.derived(defaults_of).always_eager:
            return False
        return signature.is_canvas or signature.task in tasks

    def submit(self, signature: Signature, *, rewritten: bool) -> Submitted:
        """Write the jobs of *signature*; see `DaskFacade.submit`."""
        early = _Early(self._write)
        plan = self.compile(signature, self.refer, rewritten=rewritten, early=early, now=self._now)
        if plan.jobs:
            self._write(plan.jobs, plan.edges, plan.frozen)
        jobs = (*early.jobs, *plan.jobs) if early.jobs else plan.jobs
        return self._made_of(plan, jobs)

    def add(self, signature: Signature, body_id: str) -> Submitted:
        """Write the jobs of *signature*, whose results a body that waits for this call takes, too.

        Not in the transaction that may be open: the call may end before that.
        """
        plan = self.compile(signature, self.refer, rewritten=False, now=self._now)
        self._spawn_at_once(plan.jobs, [*plan.edges, *joins(plan.ending, body_id)])
        return self._made_of(plan, plan.jobs)

    def announce(self, signature: Signature, body_id: str) -> None:
        """Let a body that waits for this call wait for what *signature*, which is frozen, makes."""
        plan = self.compile(signature, self.refer, rewritten=False, now=self._now)
        self._spawn_at_once((), list(joins(plan.ending, body_id)))

    def _spawn_at_once(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> None:
        channel = current.job().channel
        assert channel is not None  # who adds to a chord has looked
        channel.spawn(jobs, edges)
        publishing.after(jobs)

    def _made_of(self, plan: Plan, jobs: Sequence[NewJob]) -> Submitted:
        ignored = frozenset(job.id for job in jobs if job.ignore_result)

        own: dict[str, Any] = {}
        for job in jobs:
            task = tasks.known(job.task)
            if getattr(task, "own_results", False):
                own[job.id] = task

        def made(job_id: str) -> result.AsyncResult:
            if job_id in own:
                found: result.AsyncResult = own[job_id].AsyncResult(job_id)
                found.ignored = job_id in ignored
                return found
            return result.AsyncResult(job_id, app=self._app, ignored=job_id in ignored)

        return self._result(plan.ending, made, {})

    def run_here(self, signature: Signature, *, throw: bool, rewritten: bool) -> Submitted:
        """Run *signature* in this thread; see `DaskFacade.run_here`."""
        app = self._app
        given: dict[str, Callable[[], Any]] = {}

        def refer(value: Any) -> str | None:
            if graphs.is_graph(value):
                given[job_id := f"graph-{id(value)}"] = partial(_computed, value)
                return job_id
            if isinstance(value, result.AsyncResult):
                given[value.id] = partial(value.get, disable_sync_subtasks=False)
                return value.id
            return None

        def result_of(job_id: str) -> Any:
            if job_id in given:
                return given[job_id]()
            return result.AsyncResult(job_id, app=app).get(disable_sync_subtasks=False)

        plan = self.compile(signature, refer, rewritten=rewritten)
        here = LocalRun(plan, submit=self._insert, result_of=result_of)
        here.run()
        self._store(plan, here)
        error = here.first_failure()
        if error is not None and throw:
            raise error
        names = {job.id: job.task for job in plan.jobs}

        def made(job_id: str) -> result.AsyncResult:
            state, value, traceback = here.value(job_id)
            return result.EagerResult(job_id, value, state, traceback, names.get(job_id, ""))

        return self._result(plan.ending, made, {})

    def _store(self, plan: Plan, here: LocalRun) -> None:
        """Write how calls that ran here ended, of tasks that say so or where the settings do."""
        for job in plan.jobs:
            task = tasks.known(job.task)
            if task is not None and task.store_eager_result and not job.ignore_result:
                state, value, traceback = here.value(job.id)
                self._app.backend.store_result(job.id, value, state, traceback)

    def compile(
        self,
        signature: Signature,
        refer: Refer,
        *,
        rewritten: bool,
        early: Callable[[list[NewJob], list[Edge]], bool] | None = None,
        now: Callable[[], float] = time.time,
    ) -> Plan:
        """Return the jobs and edges that *signature* makes if it is submitted here and now."""
        job = current.job()
        defaults: Defaults = self._app.conf.derived(defaults_of)
        if defaults.inherits_priority and job.delivery_info:
            defaults = replace(defaults, priority=job.delivery_info.get("priority") or 0)
        return compile_plan(
            signature,
            Submitter(
                task=tasks.known,
                defaults=defaults,
                new_id=new_id,
                now=now,
                payload_limit=PAYLOAD_LIMIT,
                parent_id=job.id,
                root_id=job.root_id,
                owner=job.owner,
                origin=_origin(os.getpid()),
                refer=refer,
                rewrite=_Rewriting(rewritten),
                publish=publishing.before if before_task_publish.receivers else None,
                early=early,
            ),
        )

    def _now(self) -> float:
        """Return the ledger's time; where a job submits, that of its worker, which has none."""
        return self._app.store.now() if current.job().channel is None else time.time()

    def refer(self, value: Any) -> str | Known | None:
        """Return the id of the job whose result *value* means as an argument, or None.

        A future, Delayed or collection becomes a job by it. Of a call that ran here its result is
        known; raises what that has raised, and ResultLost where nothing is left of a job.
        """
        if isinstance(value, result.EagerResult):
            return Known(value.get(disable_sync_subtasks=False))
        if isinstance(value, result.AsyncResult):
            if value.is_forgotten:
                raise ResultLost(f"job {value.id!r} was forgotten: it has no result to be taken")
            return value.id
        return graphs.submit(self._app, value) if graphs.is_graph(value) else None

    def _write(
        self,
        jobs: Sequence[NewJob],
        edges: Sequence[Edge],
        frozen: frozenset[str] = frozenset(),
    ) -> None:
        """Submit jobs: to the ledger, or, of a running call, to its dispatcher.

        Those with *frozen* ids take the place of jobs that have ended.
        """
        channel = current.job().channel
        if channel is not None:
            self._spawn(jobs, edges, channel)
            return
        try:
            self._insert(jobs, edges)
        except DuplicateTaskId as taken:
            if taken.job_id not in frozen or not self._make_way(frozen):
                raise
            self._insert(jobs, edges)

    def _make_way(self, ids: frozenset[str]) -> bool:
        """Let the ledger forget jobs; tell whether it has. Not in a transaction, which it awaits.

        One that has not ended stays.
        """
        store, outside = self._app.store, []
        store.on_commit(lambda: outside.append(True))
        known = store.fetch(ids)
        if not outside or not all(job.ready for job in known.values()):
            return False
        ask(self._app, FORGET, known)
        deadline = time.monotonic() + FORGET_WAIT
        while store.fetch(ids):
            if time.monotonic() > deadline:
                return False
            time.sleep(FORGET_PAUSE)
        return True

    def _insert(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """Write jobs into the ledger, and hint at them once they are there; return when it was."""
        client, now = self._app.client, time.time()
        waiting = {edge.child_id for edge in edges}
        waiting.update(job.id for job in jobs if job.due is not None and job.due > now + HINT_AHEAD)

        def told(created: float) -> None:
            client.offer(calls_of(jobs, created, waiting))
            publishing.after(jobs)

        self._app.store.submit(jobs, edges, told)
        return now

    def _spawn(self, jobs: Sequence[NewJob], edges: Sequence[Edge], channel: Channel) -> None:
        """Let the dispatcher write jobs, once the open transaction commits."""

        def spawn() -> None:
            channel.spawn(jobs, edges)
            publishing.after(jobs)

        if self._app.has_store():
            self._app.store.on_commit(spawn)
        else:
            spawn()

    def _result(
        self,
        ending: Ending,
        one: Callable[[str], result.AsyncResult],
        made: dict[int, Submitted],
        until: Ending | None = None,
    ) -> Submitted:
        """Return the result of *ending*, with those before it as its parents, each made once.

        *one* makes that of one job. Members of a group have no parents from before the group,
        which ends with *until*: those are the parents of the group.
        """
        if isinstance(ending, One) and ending.parent is None and not made:
            return one(ending.id)
        steps: list[Ending] = []
        step: Ending | None = ending
        while step is not None and step is not until and id(step) not in made:
            steps.append(step)
            step = step.parent
        for step in reversed(steps):
            before = step.parent
            parent = None if before is None or before is until else made[id(before)]
            match step:
                case One(job_id):
                    made[id(step)] = one(job_id)
                    made[id(step)].parent = parent
                case Many(group_id, members):
                    results = [
                        self._result(member, one, made, before or until) for member in members
                    ]
                    made[id(step)] = result.GroupResult(group_id, results, parent, app=self._app)
        return made[id(ending)]


class _Early:
    """Writes what is compiled of a slow generator while that goes on."""

    def __init__(self, write: Callable[[Sequence[NewJob], Sequence[Edge]], None]) -> None:
        self._last = time.monotonic()
        self._write = write
        self.jobs: list[NewJob] = []

    def __call__(self, jobs: list[NewJob], edges: list[Edge]) -> bool:
        now = time.monotonic()
        if now - self._last < SLOW:
            return False
        self._write(jobs, edges)
        self._last = time.monotonic()
        self.jobs += jobs
        return True


class _Rewriting:
    """Asks tasks what their classes' own ``apply_async`` makes of calls.

    That of the first was asked already where *rewritten* says so: it is what submits.
    """

    def __init__(self, rewritten: bool) -> None:
        self._rewritten = rewritten

    def __call__(self, task: Runnable, signature: Signature) -> Signature:
        if self._rewritten:
            self._rewritten = False
            return signature
        changed: Signature = task.rewritten(signature)
        return changed


@lru_cache(maxsize=1)
def _origin(pid: int) -> str:
    """Return what Celery calls a process that submits."""
    return f"gen{pid}@{socket.gethostname()}"


def _computed(value: Any) -> Any:
    """Return what a Dask graph or future comes to, computed here."""
    return value.compute() if hasattr(type(value), "compute") else value.result()
