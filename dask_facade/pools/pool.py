"""Task pools: executables, functions and methods that run beside each other."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from dask_facade.canvas import group
from dask_facade.exceptions import TimeoutError
from dask_facade.pools import ledgers
from dask_facade.pools.cluster import STORE_LIMIT
from dask_facade.pools.exceptions import DuplicateName, UnknownName
from dask_facade.pools.journal import SimulationLog
from dask_facade.pools.ledgers import Ledger
from dask_facade.pools.machine import gpus_here, processors_here
from dask_facade.pools.shape import Shape, Wanted, shape_of
from dask_facade.pools.staff import Staff
from dask_facade.pools.tally import Tally
from dask_facade.pools.task import PoolTask, task_of
from dask_facade.result import EagerResult, GroupResult

logger = logging.getLogger(__name__)

REVOKE_TIMEOUT = 5.0  # seconds for what runs to end before its workers are ended

_named: MutableMapping[str, TaskPool] = WeakValueDictionary()
_naming = threading.Lock()
_staffed: set[TaskPool] = set()  # pools that have workers of their own now


class TaskPool:
    """Tasks that are submitted together, each a job of its own in one group.

    *user* is whose jobs they are. *simulation_log* is a file to which their starts and ends are
    added, as said by the component *code*. *processors* and *gpus* are what a node has; unsaid,
    what this machine has. A name is free again once its pool is removed; *names* is where it is
    kept.
    """

    def __init__(
        self,
        name: str,
        *,
        user: Any = None,
        simulation_log: SimulationLog | str | os.PathLike[str] | None = None,
        code: str = "",
        processors: int | None = None,
        gpus: int | None = None,
        names: MutableMapping[str, TaskPool] | None = None,
    ) -> None:
        self.name = name
        self.groups: list[GroupResult] = []
        self._code = code or name
        self._gpus = gpus
        self._here = os.getpid()
        self._ledger: Ledger | None = None
        self._lock = threading.RLock()  # who has it does not wait for tasks, but for eager ones
        self._log = _log_of(simulation_log)
        self._names = _named if names is None else names
        self._processors = processors
        self._queued: dict[str, PoolTask] = {}
        self._staff = Staff(name)
        self._submitting = threading.RLock()
        self._tally: Tally | None = None  # once something was submitted
        self._tasks: set[str] = set()
        self._terminations = 0
        self._user = user
        with _naming:
            if name in self._names:
                raise DuplicateName("task pool", name)
            self._names[name] = self

    def __enter__(self) -> TaskPool:
        return self

    def __exit__(self, *raised: object) -> None:
        self.remove()

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<TaskPool {self.name}: {len(self._tasks)} tasks>"

    def add_task(
        self,
        task_name: str,
        nproc: int,
        working_dir: str | os.PathLike[str] | None,
        binary: str | os.PathLike[str] | Callable[..., Any],
        *args: Any,
        **options: Any,
    ) -> None:
        """Add a program, with arguments as they are given, or a callable, to run in *working_dir*.

        *nproc*: how many of a worker's processors it has to itself. Options: logfile, errfile
        (relative to *working_dir*; a logfile alone gets both streams), timeout (seconds), task_env
        (added to the environment), in_container (the program is looked for where it runs). Raises
        DuplicateName and BadTask.
        """
        with self._lock:
            if task_name in self._tasks:
                raise DuplicateName("task of this pool", task_name)
            task = task_of(task_name, nproc, working_dir, binary, args, options)
            self._tasks.add(task_name)
            self._queued[task_name] = task

    def submit_tasks(
        self,
        block: bool = True,
        use_dask: bool = True,
        dask_nodes: int | None = None,
        dask_ppw: int | None = None,
        launch_interval: float = 0.0,
        use_shifter: bool = False,
        shifter_args: str | Sequence[str] | None = None,
        dask_worker_plugin: Any = None,
        dask_worker_per_gpu: bool = False,
        oversubscribe: bool = False,
        hwthreads: bool = False,
        *,
        container: str | Sequence[str] | None = None,
        logfile: str | os.PathLike[str] | None = None,
        errfile: str | os.PathLike[str] | None = None,
    ) -> int:
        """Submit what was added since the last time; return how many tasks that are.

        That is 0 if another thread terminates them meanwhile. With *block* they have ended then.
        They begin *launch_interval* seconds after each other. *dask_nodes* workers with *dask_ppw*
        processors each are started for them, in a *container* (the words of a command line before
        that of a process; *use_shifter* and *shifter_args* say them for shifter), one for each GPU
        with *dask_worker_per_gpu*, with a WorkerPlugin; if nothing of this is said and no task has
        an nproc above 1, they run on the site's workers. With *oversubscribe* an nproc may be more
        than a worker has. Tasks that have no logfile and no errfile add to those of the pool.
        *use_dask* and *hwthreads* mean nothing here.

        Raises PoolError and its kinds, and DispatcherAway.
        """
        wanted = Wanted(
            dask_nodes=dask_nodes,
            dask_ppw=dask_ppw,
            container=container,
            use_shifter=use_shifter,
            shifter_args=shifter_args,
            dask_worker_plugin=dask_worker_plugin,
            dask_worker_per_gpu=dask_worker_per_gpu,
            oversubscribe=oversubscribe,
        )
        with self._submitting:
            with self._lock:
                tasks, turn = list(self._queued.values()), self._terminations
            if tasks and not self._submit(
                tasks, turn, wanted, launch_interval, _path(logfile), _path(errfile)
            ):
                self._end_workers()
                tasks = []
        if block and self._tally is not None:
            self._tally.wait(self._tally.active)
            self._end_idle_workers(self._tally)
        return len(tasks)

    def _submit(
        self,
        tasks: Sequence[PoolTask],
        turn: int,
        wanted: Wanted,
        interval: float,
        logfile: str | None,
        errfile: str | None,
    ) -> bool:
        """Submit tasks, unless there was a termination after *turn*; tell whether it was done."""
        ledger = self._ledger = self._ledger or ledgers.ledger_here()
        shape = self._shape(wanted, tasks, ledger)
        signatures = [
            each.signature(
                logfile=logfile,
                errfile=errfile,
                log=self._log,
                code=self._code,
                limit=None if shape is None else STORE_LIMIT,
            )
            for each in tasks
        ]
        tally = self._tally = self._tally or Tally(ledger, self._staff.check, self._log, self._code)
        queue = None if shape is None else self._start_workers(shape, ledger, tally, turn)
        for number, each in enumerate(signatures):
            each.set(user=self._user, queue=queue, countdown=number * interval or None)
        with self._lock:
            if self._terminations != turn:
                return False
            made = ledger.do(lambda: ledger.app.submit(group(signatures)))
            assert isinstance(made, GroupResult)
            self.groups.append(made)
            for result, task in zip(made.results, tasks, strict=True):
                self._queued.pop(task.name, None)
                if isinstance(result, EagerResult):
                    tally.settle(task, result.get(propagate=False))
                else:
                    tally.add(result.id, task)
        return True

    def get_finished_tasks(self) -> dict[str, Any]:
        """Return the exit statuses that are new since the last call, by the names of the tasks.

        Waits until there is one; returns none if nothing runs any more. The exit status is that of
        a program: -N where signal N ended it, -1 when its time was up; what a callable returned,
        or the exception that it raised.
        """
        if self._tally is None:
            return {}
        self._tally.wait_for_news()
        self._look(self._tally)
        return self._tally.new()

    def get_exit_status(self, task_name: str | None = None) -> Any:
        """Return the exit status of a task, None while it has not ended; unsaid: all there are.

        Raises UnknownName.
        """
        if task_name is not None and task_name not in self._tasks:
            raise UnknownName("task of this pool", task_name)
        known: Mapping[str, Any] = {}
        if self._tally is not None:
            self._look(self._tally)
            known = self._tally.ended
        return known if task_name is None else known.get(task_name)

    def terminate_tasks(self) -> None:
        """End what runs, and take back what does not run yet.

        What another thread is just submitting runs no more, either.
        """
        with self._lock:
            self._terminations += 1
            self._queued.clear()
            ledger, tally = self._ledger, self._tally
        try:
            if ledger is not None and tally is not None and (ids := tally.active):
                self._revoke(ids, ledger, tally)
        finally:
            self._end_workers()

    def _revoke(self, ids: Sequence[str], ledger: Ledger, tally: Tally) -> None:
        ledger.do(lambda: ledger.app.control.revoke(ids, terminate=True))
        try:
            tally.wait(ids, REVOKE_TIMEOUT if self._staff.works else 0.0)
        except TimeoutError:
            words = "pool %s: it is not known yet how %d tasks end"
            logger.warning(words, self.name, len(tally.active))

    def remove(self) -> None:
        """End what runs, within seconds, and let go of the name. Jobs stay in the ledger."""
        self.terminate_tasks()
        with _naming:
            if self._names.get(self.name) is self:
                del self._names[self.name]

    remove_task_pool = remove

    # Workers

    def _shape(self, wanted: Wanted, tasks: Sequence[PoolTask], ledger: Ledger) -> Shape | None:
        """Return the cluster that tasks want for their own; None: they run on the site's.

        None, too, with ``task_always_eager``: they run here.
        """
        if ledger.app.conf.task_always_eager:
            return None
        nprocs = [each.nproc for each in tasks]
        wants = ledger.private or wanted.own_workers or max(nprocs) > 1
        if not wants and not ledgers.runs_in_a_job():
            return None
        gpus: tuple[str, ...] = ()
        if wanted.dask_worker_per_gpu:
            gpus = gpus_here(os.environ) if self._gpus is None else _numbers(self._gpus)
        processors = self._processors or processors_here()
        return shape_of(wanted, nprocs, processors=processors, gpus=gpus)

    def _start_workers(self, shape: Shape, ledger: Ledger, tally: Tally, turn: int) -> str:
        """Start workers of the pool's own once earlier tasks have ended; return their queue.

        They are not started, or have ended, where there was a termination after *turn*.
        """
        tally.wait(tally.active)
        _staffed.add(self)
        try:
            return self._staff.start(
                shape, ledger.app.store, is_wanted=lambda: self._terminations == turn
            )
        except BaseException:
            _staffed.discard(self)
            raise

    def _look(self, tally: Tally) -> None:
        """Take what has ended; the workers go with the last task."""
        tally.look()
        self._end_idle_workers(tally)

    def _end_idle_workers(self, tally: Tally) -> None:
        """End the workers unless something runs, or another thread submits to them just now."""
        if tally.active or not self._submitting.acquire(blocking=False):
            return
        try:
            if not tally.active:
                self._end_workers()
        finally:
            self._submitting.release()

    def _end_workers(self) -> None:
        self._staff.end()
        _staffed.discard(self)


def _log_of(log: SimulationLog | str | os.PathLike[str] | None) -> SimulationLog | None:
    return log if log is None or isinstance(log, SimulationLog) else SimulationLog(os.fspath(log))


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _path(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else os.fspath(value)


def _close_all() -> None:
    """End pools that have workers of their own: done when the process exits."""
    for pool in list(_staffed):
        if pool._here == os.getpid():
            pool.remove()
    ledgers.close()


# Before the executors of concurrent.futures go, which register themselves so: ending in order
# takes some. The interpreter's own way comes after them.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
