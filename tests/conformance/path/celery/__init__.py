"""Lets `celery` mean dask_facade in every process that has this directory on its PYTHONPATH."""

from __future__ import annotations

import sys

from dask_facade.compat import install_as_celery

del sys.modules["celery"]
install_as_celery()
