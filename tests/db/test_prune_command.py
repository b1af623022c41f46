"""``manage.py dask_prune``: what it asks the dispatcher for, and what it says."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from dask_facade.models import Request

pytestmark = pytest.mark.django_db


def pruned(*arguments: Any) -> str:
    said = StringIO()
    call_command("dask_prune", *arguments, stdout=said)
    return said.getvalue()


@pytest.mark.parametrize(
    ("age", "seconds"),
    [("30d", 2_592_000), ("1.5h", 5_400), ("90m", 5_400), ("600s", 600), ("0s", 0)],
)
def test_it_asks_the_next_dispatcher_where_none_is_running(age: str, seconds: float) -> None:
    said = pruned("--older-than", age)

    assert "is asked to delete 0 jobs" in said
    assert Request.objects.get().arguments == {"older": seconds}


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1w", "nand"])
def test_an_age_that_is_none_is_refused(age: str) -> None:
    with pytest.raises(CommandError, match="is no age"):
        pruned(f"--older-than={age}")

    assert not Request.objects.exists()


def test_without_an_age_it_is_that_of_the_settings() -> None:
    with pytest.raises(CommandError, match="result_expires is not set"):
        pruned()
