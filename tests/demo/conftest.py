from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import override_settings
from pytest_django import DjangoDbBlocker

DEMO_SITE = Path(__file__).resolve().parents[2] / "demo_site"

# manage.py finds the demo's packages beside itself; so do its tests.
if str(DEMO_SITE) not in sys.path:
    sys.path.append(str(DEMO_SITE))


@pytest.fixture(scope="module")
def codebase_app(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Install the demo's app, with its table, for the tests of this module."""
    installed = [*settings.INSTALLED_APPS, "django.contrib.humanize", "codebase"]
    with override_settings(INSTALLED_APPS=installed), django_db_blocker.unblock():
        call_command("migrate", "codebase", verbosity=0)
        with django_db_blocker.block():
            yield
        call_command("migrate", "codebase", "zero", verbosity=0)
