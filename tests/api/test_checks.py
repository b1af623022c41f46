"""What `manage.py check` says of the API."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core import checks
from django.test import override_settings

from dask_facade.api.checks import check_authentication, check_installed, check_mounted


def test_the_site_of_the_tests_passes():
    for check in (check_installed, check_mounted, check_authentication):
        assert check(None) == []
        assert check in checks.registry.registry.get_checks()


def test_the_framework_must_be_installed():
    installed = [app for app in settings.INSTALLED_APPS if app != "rest_framework"]

    with override_settings(INSTALLED_APPS=installed):
        (message,) = check_installed(None)

    assert (message.id, "rest_framework" in message.hint) == ("dask_facade.E006", True)


@pytest.mark.urls("tests.api.tasks")
def test_an_api_without_addresses_is_told_of():
    (message,) = check_mounted(None)

    assert message.id == "dask_facade.W005"
    assert 'include("dask_facade.api.urls")' in message.hint


@override_settings(REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": []})
def test_an_api_that_nobody_can_log_in_to_is_told_of():
    (message,) = check_authentication(None)

    assert message.id == "dask_facade.W006"
    assert "DEFAULT_AUTHENTICATION_CLASSES" in message.hint
