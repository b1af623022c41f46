"""The app that measures every Python file of this interpreter."""

from __future__ import annotations

from django.apps import AppConfig


class CodebaseConfig(AppConfig):
    """Tasks, pages and the command `demo`."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "codebase"
