"""What a site's own tests meet: transactions that are always rolled back."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.test import TestCase, override_settings

from dask_facade import DaskFacade, current, shared_task
from dask_facade.states import PENDING, SUCCESS


@shared_task
def double(x: int) -> int:
    return 2 * x


class SiteTests(TestCase):
    """Django's TestCase wraps each test in a transaction."""

    def test_a_call_is_part_of_the_tests_transaction(self) -> None:
        result = double.delay(2)

        assert result.state == PENDING
        assert current.app().store.fetch([result.id])[result.id].arguments == "2"

    def test_a_call_is_rolled_back_with_its_savepoint(self) -> None:
        with transaction.atomic():
            result = double.delay(2)
            transaction.set_rollback(True)

        assert current.app().store.fetch([result.id]) == {}

    def test_on_commit_calls_are_made_when_the_test_says_so(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            result = double.delay_on_commit(2)

        assert result is None

    def test_waiting_for_it_is_refused_at_once(self) -> None:
        result = double.delay(2)

        with pytest.raises(RuntimeError, match="transaction"):
            result.get(timeout=5)


class EagerSiteTests(TestCase):
    """A site that lets its calls run at once in its tests."""

    def setUp(self) -> None:
        before = current.app()
        self.addCleanup(current.set_app, before)
        self.app = DaskFacade("site")
        self.app.config_from_object("django.conf:settings", namespace="CELERY")
        assert not self.app.conf.task_always_eager

    def test_settings_may_be_changed_for_a_test(self) -> None:
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
            result = double.delay(2)

        assert (result.state, result.get()) == (SUCCESS, 4)
        assert double.delay(2).state == PENDING
