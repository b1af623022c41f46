"""Who submits: what compiling needs to know beside the signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dask_facade.messages import Edge, NewJob
from dask_facade.options import Defaults
from dask_facade.registry import Runnable
from dask_facade.serialization import Refer
from dask_facade.signatures import Signature


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submits, when, and on which terms where nothing else is said."""

    task: Callable[[str], Runnable | None]  # by name; None: not known here, which is allowed
    defaults: Defaults
    new_id: Callable[[], str]
    now: Callable[[], float]  # seconds since the epoch; what a countdown counts from
    payload_limit: int  # bytes
    parent_id: str | None = None  # the job that submits this, if one does
    root_id: str | None = None
    owner: str = ""  # of what says none
    origin: str = ""  # the process that submits, as people may know it
    refer: Refer = lambda value: None
    rewrite: Callable[[Runnable, Signature], Signature] = lambda task, signature: signature
    """Asks a task what it makes of a call: a class may have its own ``apply_async``."""
    publish: Callable[[Signature, NewJob], Mapping[str, Any]] | None = None
    """Says that a call is about to be submitted, and returns its headers."""
    early: Callable[[list[NewJob], list[Edge]], bool] | None = None
    """Gets what is compiled each time that a generator has given a member; tells if it took it."""
