"""What ``manage.py dask_dispatcher`` makes of its options and of the settings."""

from __future__ import annotations

import pytest
from django.core.management.base import CommandError

from dask_facade.conf import Settings
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.management.commands.dask_dispatcher import Command, _options


def options(*arguments, **settings):
    parsed = Command().create_parser("manage.py", "dask_dispatcher").parse_args(arguments)
    return _options(Settings.read(settings), vars(parsed))


@pytest.mark.parametrize(
    ("arguments", "queues"),
    [
        ((), ()),
        (("-Q", "fast"), ("fast",)),
        (("--queues", "fast, slow,"), ("fast", "slow")),
    ],
)
def test_queues_are_named_with_commas(arguments, queues):
    assert options(*arguments).queues == queues


def test_settings_reach_the_dispatcher():
    made = options(WORKERS=3, RESULT_INLINE_LIMIT=10, RESULT_STORE_LIMIT=100, HIGH_WATER=7)

    assert (made.workers, made.inline_limit, made.store_limit) == (3, 10, 100)
    assert made.rules.high_water == 7


def test_what_the_command_is_told_goes_before_the_settings():
    made = options("--workers", "5", "--cluster", "local", SCHEDULER_ADDRESS="tcp://127.0.0.1:1")

    assert (made.workers, made.scheduler) == (5, None)


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (("--workers", "0"), {}, "--workers must be 1 or more"),
        (("--scheduler", "tcp://dask:8786"), {}, "not on this machine"),
        ((), {"SCHEDULER_ADDRESS": "tcp://dask:8786"}, "not on this machine"),
        ((), {"DISPATCHER_HOST": "0.0.0.0"}, "not on this machine"),
        (("--autoreload",), {"SCHEDULER_ADDRESS": "tcp://127.0.0.1:1"}, "leave out --autoreload"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(arguments, settings, words):
    with pytest.raises(ImproperlyConfigured, match=words):
        options(*arguments, **settings)


def test_a_local_cluster_and_another_exclude_each_other():
    with pytest.raises(CommandError, match="not allowed with"):
        options("--cluster", "local", "--scheduler", "tcp://127.0.0.1:1")
