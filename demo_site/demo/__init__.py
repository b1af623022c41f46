"""The demo project. Loads its app with Django, so that `@shared_task` finds it."""

from __future__ import annotations

from demo.celery import app as celery_app

__all__ = ("celery_app",)
