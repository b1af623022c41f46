"""Sweeps: the same simulation, or function, for many values of its variables."""

from __future__ import annotations

import csv
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dask_facade.pools import config
from dask_facade.pools.config import Section
from dask_facade.pools.exceptions import BadConfig
from dask_facade.pools.journal import SimulationLog
from dask_facade.pools.pool import TaskPool

UNSAID = "?"
"""What stands in a template for a value that each instance says."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One run: its name, and the value of each variable, by (component, variable)."""

    name: str
    values: Mapping[tuple[str, str], Any]  # the component is "" where variables are of none

    @property
    def row(self) -> dict[str, Any]:
        """Return it as columns of a table."""
        shown = {
            f"{component}:{variable}" if component else variable: value
            for (component, variable), value in self.values.items()
        }
        return {"ensemble_name": self.name, **shown}


def run_ensemble(
    template: str | Path | Callable[..., Any],
    variables: Mapping[str, Any],
    run_dir: str | Path,
    name: str = "ensemble",
    cores_per_instance: int | None = None,
    num_nodes: int | None = None,
    oversubscribe: bool = False,
    hwthreads: bool = False,
    *,
    code: str = "",
    log: SimulationLog | str | os.PathLike[str] | None = None,
    user: Any = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Run *template* once for each combination of *variables*; return a table of results.

    *template* is the configuration of a simulation, in which the values stand as "?", or a
    function, which gets them by keyword. *variables* are {name: values}, of which every combination
    is run, or {component: {name: values}}, of which the first values are run together, then the
    second ones, and so on. Each instance is a task that runs in a directory of its own under
    *run_dir*. A row of the table has ensemble_name, the values, directory and result (an exit
    status, as `TaskPool.get_finished_tasks` has it); it is also written to
    ``<name>__ensemble_results.csv`` there. *options* are those of `TaskPool.submit_tasks`.
    """
    instances = instances_of(variables, name)
    folders = {each.name: Path(run_dir).absolute() / each.name for each in instances}
    with TaskPool(f"{name}_ensemble_task_pool", user=user, simulation_log=log, code=code) as pool:
        for each in instances:
            _add(pool, template, each, folders[each.name], cores_per_instance or 1)
        _write(Path(run_dir, f"{name}__ensemble_variables.csv"), [each.row for each in instances])
        options |= {"dask_nodes": num_nodes, "oversubscribe": oversubscribe}
        pool.submit_tasks(hwthreads=hwthreads, **options)
        results = pool.get_exit_status()
    table = [
        {**each.row, "directory": str(folders[each.name]), "result": results[each.name]}
        for each in instances
    ]
    _write(Path(run_dir, f"{name}__ensemble_results.csv"), table)
    return table


def instances_of(variables: Mapping[str, Any], name: str) -> list[Instance]:
    """Return the runs that *variables* make, named *name* and a number. Raises BadConfig."""
    rows: Iterable[tuple[Any, ...]]
    if variables and all(isinstance(each, Mapping) for each in variables.values()):
        columns = {
            (component, variable): _several(values)
            for component, said in variables.items()
            for variable, values in said.items()
        }
        if len({len(values) for values in columns.values()}) > 1:
            raise BadConfig("variables of components need as many values as each other")
        rows = zip(*columns.values(), strict=True)
    else:
        columns = {("", variable): _several(values) for variable, values in variables.items()}
        rows = itertools.product(*columns.values())
    made = [
        Instance(f"{name}{number}", dict(zip(columns, row, strict=True)))
        for number, row in enumerate(rows)
    ]
    if not made:
        raise BadConfig("an ensemble needs at least one value of each variable")
    return made


def _add(
    pool: TaskPool,
    template: str | Path | Callable[..., Any],
    instance: Instance,
    folder: Path,
    nproc: int,
) -> None:
    """Add the task that runs an instance in *folder*, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    logfile = f"{instance.name}.log"
    if callable(template):
        said = {variable: value for (_, variable), value in instance.values.items()}
        pool.add_task(instance.name, nproc, folder, partial(template, **said), logfile=logfile)
        return
    path = _configured(template, instance, folder)
    pool.add_task(
        instance.name,
        nproc,
        folder,
        sys.executable,
        *("-m", "dask_facade.pools", "--config", path),
        logfile=logfile,
        task_env={"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
    )


def _several(values: Any) -> Sequence[Any]:
    return [values] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)


def _configured(template: str | Path, instance: Instance, folder: Path) -> Path:
    """Write the configuration of an instance; return its path."""
    try:
        said = config.parse(Path(template).read_text(), str(template))
    except OSError as error:
        raise BadConfig(f"{template} cannot be read: {error.strerror}") from error
    made = filled(said, instance, folder)
    path = folder / f"{instance.name}.config"
    path.write_text(config.written(config.replaced(made, {**os.environ, "PWD": os.getcwd()})))
    return path


def filled(template: Section, instance: Instance, folder: Path) -> Section:
    """Return the configuration of an instance that runs in *folder*. Raises BadConfig."""
    made = deepcopy(template)
    made |= {
        "ENSEMBLE_INSTANCE": instance.name,
        "LOG_FILE": f"{instance.name}_run.log",
        "SIM_NAME": instance.name,
        "SIM_ROOT": str(folder),
    }
    for (component, variable), value in instance.values.items():
        section = made.get(component) if component else made
        if not isinstance(section, dict):
            raise BadConfig(f"the template has no section [{component}]")
        section[variable] = str(value)
    if left := _unsaid(made):
        raise BadConfig(f"no value is said of {', '.join(left)} in the template")
    return made


def _unsaid(section: Section) -> list[str]:
    found = [key for key, value in section.items() if value == UNSAID]
    for value in section.values():
        if isinstance(value, dict):
            found += _unsaid(value)
    return found


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
