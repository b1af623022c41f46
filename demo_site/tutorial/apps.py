"""The app with the buttons that start named jobs."""

from __future__ import annotations

from django.apps import AppConfig


class TutorialConfig(AppConfig):
    """Pages, and no tables of its own."""

    name = "tutorial"
