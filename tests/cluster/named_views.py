"""A module with models of Django's, as that of a view, that also has what Dask computes."""

from __future__ import annotations

from typing import Any

import dask
from django.contrib.auth.models import Group

from dask_facade import job_manager
from dask_facade.models import DaskJob


@dask.delayed
def count_fields(name: str) -> int:
    return len({"Group": Group}[name]._meta.get_fields())


def begin(user: Any) -> DaskJob:
    """Execute what is computed in this very module."""
    job = job_manager.create_job("in a view", user)
    job.process_results_function = convert
    job.execute(count_fields("Group"))
    return job


def convert(result: int) -> list[Any]:
    return [result, Group.__name__]
