"""System checks: whether the API can be reached, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Warning, register
from django.urls import NoReverseMatch, reverse
from rest_framework.settings import api_settings

TAG = "dask_facade"


def register_checks() -> None:
    """Let `manage.py check` run the checks of this module."""
    register(check_installed, TAG)
    register(check_mounted, TAG)
    register(check_authentication, TAG)


def check_installed(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find an API without the framework that it is written for."""
    if apps.is_installed("rest_framework"):
        return []
    return [
        Error(
            "The API needs Django REST framework among the installed apps.",
            hint="Add 'rest_framework' to INSTALLED_APPS.",
            id="dask_facade.E006",
        )
    ]


def check_mounted(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find an API without addresses."""
    try:
        reverse("dask_facade_api:jobs")
    except NoReverseMatch:
        return [
            Warning(
                "The API has no addresses: nobody can reach it, and JobResponseMixin has no "
                "Location to answer with.",
                hint='Add path("api/", include("dask_facade.api.urls")) to the URLconf, or take '
                "'dask_facade.api' out of INSTALLED_APPS.",
                id="dask_facade.W005",
            )
        ]
    return []


def check_authentication(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Find an API that nobody can log in to."""
    if api_settings.DEFAULT_AUTHENTICATION_CLASSES:
        return []
    return [
        Warning(
            "The API knows no way to log in, and refuses whoever has not: it answers nobody.",
            hint="Name at least one class in REST_FRAMEWORK['DEFAULT_AUTHENTICATION_CLASSES'].",
            id="dask_facade.W006",
        )
    ]
