"""A site whose ledger is that of the tests' cluster, and who visits it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings

from dask_facade import DaskFacade, current

DEMO = ("tests.demo.tutorial_urls", "django.contrib.humanize", "codebase", "tutorial")
"""The addresses of the demo, and the apps that it takes."""


class ToCluster:
    """Reads and writes all models where the cluster's jobs are."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "cluster_default"

    db_for_write = db_for_read


@contextmanager
def portal(app: DaskFacade, urls: str, *apps: str) -> Iterator[None]:
    """Serve the pages of *urls* here, with more *apps*, over the database of the app's ledger."""
    before = current.site()
    with override_settings(
        INSTALLED_APPS=[*settings.INSTALLED_APPS, *apps],
        ROOT_URLCONF=urls,
        DATABASE_ROUTERS=[ToCluster()],
    ):
        # Apps that are installed anew have made another site.
        current.set_site(current.Site(app.store, app.client, before.packages))
        try:
            yield
        finally:
            current.set_site(before)


def browser_of(user: User) -> Client:
    """Return a browser in which *user* is logged in."""
    browser = Client()
    browser.force_login(user)
    return browser
