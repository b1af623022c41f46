"""What a pool needs of workers: how many, of how many threads, and what they start in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dask_facade.pools.exceptions import PoolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked of `TaskPool.submit_tasks`; None and False: nothing was said."""

    dask_nodes: int | None = None
    dask_ppw: int | None = None
    container: str | Sequence[str] | None = None
    use_shifter: bool = False
    shifter_args: str | Sequence[str] | None = None
    dask_worker_plugin: Any = None
    dask_worker_per_gpu: bool = False
    oversubscribe: bool = False

    @property
    def own_workers(self) -> bool:
        """Whether it takes workers of the pool's own."""
        return (
            self.dask_worker_per_gpu
            or self.use_shifter
            or any(
                each is not None
                for each in (
                    self.dask_nodes,
                    self.dask_ppw,
                    self.container,
                    self.shifter_args,
                    self.dask_worker_plugin,
                )
            )
        )

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words of the command line before that of a process, which start it in a container."""
        if self.container is not None:
            return words_of(self.container)
        if self.use_shifter or self.shifter_args is not None:
            return ("shifter", *words_of(self.shifter_args or ()))
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A cluster of a pool's own."""

    workers: int
    threads: int  # of each worker: how many tasks it runs at a time
    processors: int  # of each worker, as its tasks' nproc counts them
    shares: bool = False  # tasks want different numbers of processors
    prefix: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()  # one worker each, for each node
    plugin: Any = None


def shape_of(
    wanted: Wanted, nprocs: Sequence[int], *, processors: int, gpus: Sequence[str]
) -> Shape:
    """Return the cluster for tasks that want *nprocs*, on nodes that have *processors* and *gpus*.

    Raises PoolError where there can be none.
    """
    nodes = _at_least_1("dask_nodes", wanted.dask_nodes, 1)
    if wanted.dask_worker_per_gpu:
        if not gpus:
            raise PoolError(
                "dask_worker_per_gpu: there is no GPU here; CUDA_VISIBLE_DEVICES, or nvidia-smi, "
                "would tell of one"
            )
        processors = max(1, processors // len(gpus))
    size = _at_least_1("dask_ppw", wanted.dask_ppw, processors)
    least, most = min(nprocs, default=1), max(nprocs, default=1)
    if most > size and not wanted.oversubscribe:
        raise PoolError(
            f"a task wants {most} processors, and a worker has {size}: give it more with "
            f"dask_ppw={most}, or let tasks share them with oversubscribe=True"
        )
    return Shape(
        workers=nodes * (len(gpus) if wanted.dask_worker_per_gpu else 1),
        threads=max(1, size // least),
        processors=size,
        shares=least != most,
        prefix=wanted.prefix,
        gpus=tuple(gpus) if wanted.dask_worker_per_gpu else (),
        plugin=wanted.dask_worker_plugin,
    )


def words_of(command: str | Sequence[str]) -> tuple[str, ...]:
    """Return the words of a command line; a string is split as a shell would."""
    return tuple(shlex.split(command) if isinstance(command, str) else map(str, command))


def _at_least_1(option: str, value: Any, otherwise: int) -> int:
    if value is None:
        return otherwise
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise PoolError(f"{option} is a number of at least 1, not {value!r}")
    return number
