"""Helpers for the tests of projects, under Celery's names."""

from __future__ import annotations
