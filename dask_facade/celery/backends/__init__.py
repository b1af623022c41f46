"""Celery's package of result backends: here results are in the ledger."""

from __future__ import annotations
