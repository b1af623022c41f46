"""What components of a simulation ask for, in the words of IPS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from dask_facade.pools.component import Component
from dask_facade.pools.ensemble import run_ensemble
from dask_facade.pools.exceptions import BadConfig, UnknownName
from dask_facade.pools.journal import SimulationLog
from dask_facade.pools.pool import TaskPool


class Ports(Protocol):
    """The simulation that a component is of."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What the configuration says, sections and entries."""

    def component(self, port: str) -> Component:
        """Return the component at a port; raise UnknownName."""

    def call(self, component: Component, method: str, *args: Any, **keywords: Any) -> Any:
        """Call a method of a component, in its directory."""


class Services:
    """Task pools, ports, directories and logs for one component; or for a script, with no more."""

    def __init__(
        self,
        *,
        working_dir: str | Path | None = None,
        code: str = "services",
        simulation: Ports | None = None,
        simulation_log: SimulationLog | str | Path | None = None,
        user: Any = None,
    ) -> None:
        self._code = code
        self._log = simulation_log
        self._logger = logging.getLogger(f"{__name__}.{code}")
        self._names: dict[str, TaskPool] = {}
        self._simulation = simulation
        self._user = user
        self._working_dir = Path.cwd() if working_dir is None else Path(working_dir).absolute()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()  # its pools stay where they are

    # Task pools

    def create_task_pool(self, task_pool_name: str) -> None:
        """Make an empty pool; raise DuplicateName, and BadConfig where a node has no number."""
        TaskPool(
            task_pool_name,
            user=self._user,
            simulation_log=self._log,
            code=self._code,
            processors=self._number("PROCS_PER_NODE") or self._number("CORES_PER_NODE"),
            gpus=self._number("GPUS_PER_NODE"),
            names=self._names,
        )

    def add_task(
        self,
        task_pool_name: str,
        task_name: str,
        nproc: int,
        working_dir: str | Path | None,
        binary: str | Path | Callable[..., Any],
        *args: Any,
        **keywords: Any,
    ) -> None:
        """Add a task; see `TaskPool.add_task`."""
        pool = self._pool(task_pool_name)
        pool.add_task(task_name, nproc, working_dir, binary, *args, **keywords)

    def submit_tasks(
        self,
        task_pool_name: str,
        block: bool = True,
        use_dask: bool = True,
        *args: Any,
        **options: Any,
    ) -> int:
        """Submit what was added; see `TaskPool.submit_tasks`."""
        return self._pool(task_pool_name).submit_tasks(block, use_dask, *args, **options)

    def get_finished_tasks(self, task_pool_name: str) -> dict[str, Any]:
        """Return the exit statuses that are new; see `TaskPool.get_finished_tasks`."""
        return self._pool(task_pool_name).get_finished_tasks()

    def get_exit_status(self, task_pool_name: str, task_name: str | None = None) -> Any:
        """Return the exit status of a task, or all; see `TaskPool.get_exit_status`."""
        return self._pool(task_pool_name).get_exit_status(task_name)

    def remove_task_pool(self, task_pool_name: str) -> None:
        """End what still runs, within seconds, and let go of the name."""
        self._pool(task_pool_name).remove()

    def run_ensemble(
        self,
        template: str | Path | Callable[..., Any],
        variables: Mapping[str, Any],
        run_dir: str | Path,
        name: str = "ensemble",
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Run *template* for each combination of *variables*; see `ensemble.run_ensemble`."""
        return run_ensemble(
            template, variables, run_dir, name, log=self._log, code=self._code, **options
        )

    def close(self) -> None:
        """Remove all pools."""
        for pool in list(self._names.values()):
            pool.remove()

    def _pool(self, name: str) -> TaskPool:
        if name not in self._names:
            raise UnknownName("task pool", name)
        return self._names[name]

    # Its simulation

    def get_working_dir(self) -> str:
        """Return the directory of the component."""
        return str(self._working_dir)

    def get_port(self, port_name: str) -> Component:
        """Return the component at a port, for `call`; raise UnknownName."""
        if self._simulation is None:
            raise UnknownName("port", port_name)
        return self._simulation.component(port_name)

    def call(self, component_id: Component, method_name: str, *args: Any, **keywords: Any) -> Any:
        """Call a method of another component, and return what it returns."""
        if self._simulation is None:
            raise UnknownName("port", component_id.__class__.__name__)
        return self._simulation.call(component_id, method_name, *args, **keywords)

    def get_config_param(self, param: str, silent: bool = False) -> Any:
        """Return an entry of the configuration; where there is none, raise UnknownName.

        With *silent* that is None.
        """
        known = {} if self._simulation is None else self._simulation.config
        if param not in known and not silent:
            raise UnknownName("entry in the configuration", param)
        return known.get(param)

    def _number(self, param: str) -> int | None:
        value = self.get_config_param(param, silent=True)
        try:
            return int(value) if value else None
        except (TypeError, ValueError):
            raise BadConfig(f"{param} is a number, not {value!r}") from None

    # Logs

    def send_portal_event(
        self, event_type: str = "COMPONENT_EVENT", event_comment: str = ""
    ) -> None:
        """Add an event to the simulation log."""
        if isinstance(self._log, SimulationLog):
            self._log.write(self._code, event_type, event_comment)

    def log(self, msg: str, *args: Any) -> None:
        """Log at level INFO."""
        self._logger.info(msg, *args)

    info = log

    def debug(self, msg: str, *args: Any) -> None:
        """Log at level DEBUG."""
        self._logger.debug(msg, *args)

    def warning(self, msg: str, *args: Any) -> None:
        """Log at level WARNING."""
        self._logger.warning(msg, *args)

    def error(self, msg: str, *args: Any) -> None:
        """Log at level ERROR."""
        self._logger.error(msg, *args)

    def exception(self, msg: str, *args: Any) -> None:
        """Log at level ERROR, with the exception that is handled."""
        self._logger.exception(msg, *args)  # noqa: LOG004  # its caller does

    def critical(self, msg: str, *args: Any) -> None:
        """Log at level CRITICAL."""
        self._logger.critical(msg, *args)
