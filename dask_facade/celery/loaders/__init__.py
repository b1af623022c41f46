"""Celery's package of loaders."""

from __future__ import annotations
