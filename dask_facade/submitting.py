"""From a signature to rows in the ledger, or to results at once; and to its result object."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from dask_facade import current, graphs, publishing, result
from dask_facade.canvas import Signature
from dask_facade.current import Channel
from dask_facade.eager import LocalRun
from dask_facade.exceptions import ResultLost
from dask_facade.ids import new_id
from dask_facade.ledger.store import calls_of
from dask_facade.messages import Edge, NewJob
from dask_facade.options import defaults_of
from dask_facade.plan import Ending, Many, One, Plan, Submitter, compile_plan
from dask_facade.registry import Runnable, tasks
from dask_facade.serialization import Known, Refer
from dask_facade.signals import before_task_publish

Submitted = result.AsyncResult | result.GroupResult
PAYLOAD_LIMIT = 16 * 2**20  # bytes of arguments
HINT_AHEAD = 2.0  # seconds ahead of an eta: later ones are found in the ledger when it nears


class Submitting:
    """How an app submits."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def is_eager(self, signature: Signature) -> bool:
        """Tell whether it runs here; a task that nobody knows here cannot."""
        if not self._app.conf.derived(defaults_of).always_eager:
            return False
        return type(signature) is not Signature or signature.task in tasks

    def submit(self, signature: Signature, *, rewritten: bool) -> Submitted:
        """Write the jobs of *signature*; see `DaskFacade.submit`."""
        plan = self.compile(signature, self.refer, rewritten=rewritten)
        if plan.jobs:
            channel = current.job().channel
            if channel is None:
                self._insert(plan.jobs, plan.edges)
            else:
                self._spawn(plan, channel)
        ignored = frozenset(job.id for job in plan.jobs if job.ignore_result)

        def made(job_id: str) -> result.AsyncResult:
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
        here = LocalRun(plan, submit=self._insert, setting=app.conf.get, result_of=result_of)
        here.run()
        error = here.first_failure()
        if error is not None and throw:
            raise error
        names = {job.id: job.task for job in plan.jobs}

        def made(job_id: str) -> result.AsyncResult:
            state, value, traceback = here.value(job_id)
            return result.EagerResult(job_id, value, state, traceback, names.get(job_id, ""))

        return self._result(plan.ending, made, {})

    def compile(self, signature: Signature, refer: Refer, *, rewritten: bool) -> Plan:
        """Return the jobs and edges that *signature* makes if it is submitted here and now."""
        job = current.job()
        return compile_plan(
            signature,
            Submitter(
                task=tasks.known,
                defaults=self._app.conf.derived(defaults_of),
                new_id=new_id,
                now=time.time(),
                payload_limit=PAYLOAD_LIMIT,
                parent_id=job.id,
                root_id=job.root_id,
                owner=job.owner,
                origin=_origin(os.getpid()),
                refer=refer,
                rewrite=_Rewriting(rewritten),
                publish=publishing.before if before_task_publish.receivers else None,
            ),
        )

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

    def _spawn(self, plan: Plan, channel: Channel) -> None:
        """Let the dispatcher write the jobs of *plan*, once the open transaction commits."""

        def spawn() -> None:
            channel.spawn(plan.jobs, plan.edges)
            publishing.after(plan.jobs)

        if self._app.has_store():
            self._app.store.on_commit(spawn)
        else:
            spawn()

    def _result(
        self,
        ending: Ending,
        one: Callable[[str], result.AsyncResult],
        made: dict[int, Submitted],
    ) -> Submitted:
        """Return the result of *ending*, with those before it as its parents, each made once.

        *one* makes that of one job.
        """
        steps: list[Ending] = []
        step: Ending | None = ending
        while step is not None and id(step) not in made:
            steps.append(step)
            step = step.parent
        for step in reversed(steps):
            parent = None if step.parent is None else made[id(step.parent)]
            match step:
                case One(job_id):
                    made[id(step)] = one(job_id)
                    made[id(step)].parent = parent
                case Many(group_id, members):
                    results = [self._result(member, one, made) for member in members]
                    made[id(step)] = result.GroupResult(group_id, results, parent, app=self._app)
        return made[id(ending)]


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
