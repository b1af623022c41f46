from __future__ import annotations

import importlib
import threading
from types import SimpleNamespace

import pytest

from dask_facade.config import DEFAULTS, Config
from tests.unit.listening import DEADLINE


@pytest.fixture
def config():
    return Config({})


def test_a_setting_that_nobody_says_has_its_default(config):
    for name, value in DEFAULTS.items():
        assert getattr(config, name) == value


def test_a_setting_is_what_the_app_was_given():
    assert Config({"task_default_queue": "mine"}).task_default_queue == "mine"


def test_settings_that_mean_nothing_here_are_kept():
    assert Config({"broker_url": "redis://"}).broker_url == "redis://"


def test_an_unknown_setting_is_an_attribute_error(config):
    with pytest.raises(AttributeError, match="no setting 'task_qeue'"):
        _ = config.task_qeue
    assert not hasattr(config, "_private")


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("CELERY", "CELERY_TASK_DEFAULT_QUEUE"), ("celery", "CELERY_TASK_DEFAULT_QUEUE"),
     ("", "TASK_DEFAULT_QUEUE"), ("", "task_default_queue")],
)  # fmt: skip
def test_an_object_is_read_by_its_namespace(config, namespace, name):
    config.add_object(SimpleNamespace(**{name: "mine", "OTHER_THING": 1, "_hidden": 2}), namespace)

    assert config.task_default_queue == "mine"


def test_names_outside_of_the_namespace_are_not_read(config):
    config.add_object(SimpleNamespace(TASK_DEFAULT_QUEUE="no", CELERYX=1), "CELERY")

    assert config.task_default_queue == "celery"


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("worker_proc_alive_timeout", 4.0),
        ("task_default_queue_type", "classic"),
        ("redis_db", None),
    ],
)
def test_a_setting_that_means_nothing_here_can_be_read(config, name, default):
    assert config[name] == default


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def module(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return module


def test_a_module_is_named_as_text(config, module):
    config.add_object(module("celeryconfig_one", "task_default_queue = 'mine'\n"), "")

    assert config.task_default_queue == "mine"


def test_an_attribute_of_a_module_is_named_after_a_colon(config, module):
    source = "class settings:\n    CELERY_TASK_DEFAULT_QUEUE = 'mine'\n"
    config.add_object(f"{module('celeryconfig_two', source)}:settings", "CELERY")

    assert config.task_default_queue == "mine"


def test_an_object_is_read_when_the_first_setting_is_needed(config):
    source = SimpleNamespace(CELERY_TASK_DEFAULT_QUEUE="early")
    config.add_object(source, "CELERY")

    source.CELERY_TASK_DEFAULT_QUEUE = "late"

    assert config.task_default_queue == "late"


def test_an_object_that_cannot_be_read_raises_each_time(config):
    config.add_object("no_such_module_of_settings", "CELERY")

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            _ = config.task_default_queue


def test_what_is_said_later_holds(config):
    config.add_object(SimpleNamespace(CELERY_TASK_DEFAULT_QUEUE="object"), "CELERY")

    config.update({"task_default_queue": "update"})

    assert config.task_default_queue == "update"


def test_update_takes_keyword_arguments_as_celerys_does(config):
    config.update({"broker_url": "one"}, task_default_queue="mine")
    config.update(task_default_priority=5)

    assert (config.broker_url, config.task_default_queue) == ("one", "mine")
    assert config.task_default_priority == 5


def test_setting_reads_no_object(config):
    config.add_object("no_such_module_of_settings", "CELERY")

    config.update(task_default_queue="mine")
    config.task_default_priority = 5


def test_an_object_may_look_at_the_settings_while_it_is_read(config):
    class Curious:
        @property
        def CELERY_TASK_DEFAULT_QUEUE(self):
            return f"not {config.task_default_queue}"

    config.add_object(Curious(), "CELERY")
    config.update(broker_url="one")

    assert config.task_default_queue == "not celery"
    assert config.broker_url == "one"


def test_a_setting_can_be_set_as_an_attribute(config):
    config.add_object(SimpleNamespace(CELERY_TASK_DEFAULT_QUEUE="object"), "CELERY")

    config.task_default_queue = "set"
    assert config.task_default_queue == "set"

    config.update(task_default_queue="update")
    assert config.task_default_queue == "update"


def test_a_thread_waits_for_the_object_that_another_one_reads(config):
    begun, go_on = threading.Event(), threading.Event()
    found = []

    class Slow:
        @property
        def CELERY_TASK_DEFAULT_QUEUE(self):
            begun.set()
            assert go_on.wait(DEADLINE)
            return "mine"

    config.add_object(Slow(), "CELERY")
    threads = [
        threading.Thread(target=lambda: found.append(config.task_default_queue)) for _ in range(2)
    ]
    threads[0].start()
    assert begun.wait(DEADLINE)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(DEADLINE)

    assert found == ["mine", "mine"]


def test_settings_are_items_too(config):
    config["task_default_queue"] = "mine"

    assert config["task_default_queue"] == config.get("task_default_queue") == "mine"
    assert "task_default_queue" in config
    assert "task_qeue" not in config
    assert config.get("task_qeue", 5) == 5
    with pytest.raises(KeyError):
        config["task_qeue"]


def test_a_default_of_ones_own_holds_where_nobody_says_it(config):
    assert config.setdefault("mine", 1) == 1
    assert config.setdefault("mine", 2) == config.mine == 1


@pytest.mark.parametrize(
    ("namespace", "old", "new"),
    [
        ("CELERY", "CELERY_ALWAYS_EAGER", "task_always_eager"),
        ("CELERY", "CELERY_ROUTES", "task_routes"),
        ("CELERY", "CELERY_TASK_ALWAYS_EAGER", "task_always_eager"),
        ("", "CELERY_ALWAYS_EAGER", "task_always_eager"),
        ("", "CELERY_EAGER_PROPAGATES_EXCEPTIONS", "task_eager_propagates"),
        ("", "CELERYD_TASK_TIME_LIMIT", "task_time_limit"),
        ("", "CELERYBEAT_SCHEDULE", "beat_schedule"),
        ("", "celery_default_queue", "task_default_queue"),
    ],
)
def test_celerys_old_names_mean_the_new_ones(config, namespace, old, new):
    config.add_object(SimpleNamespace(**{old: "said"}), namespace)

    assert config[new] == "said"


def test_old_names_can_be_asked_for_and_set(config):
    config.CELERY_ALWAYS_EAGER = True

    assert config.task_always_eager is config.CELERY_ALWAYS_EAGER is True
    assert Config({"CELERY_DEFAULT_QUEUE": "mine"}).task_default_queue == "mine"


def test_a_class_or_mapping_may_be_the_object(config, module):
    class Settings:
        task_default_queue = "class"

    config.add_object(Settings, "")
    assert config.task_default_queue == "class"

    config.add_object({"CELERY_TASK_DEFAULT_QUEUE": "mapping"}, "CELERY")
    assert config.task_default_queue == "mapping"

    name = module("celeryconfig_three", "class Settings:\n    task_default_queue = 'dotted'\n")
    config.add_object(f"{name}.Settings", "")
    assert config.task_default_queue == "dotted"


def test_what_is_derived_is_made_once_until_settings_change(config):
    made = []

    def make(conf):
        made.append(conf.task_default_queue)
        return len(made)

    assert [config.derived(make), config.derived(make)] == [1, 1]
    config.task_default_queue = "mine"
    assert config.derived(make) == 2
    assert made == ["celery", "mine"]


def test_no_two_apps_share_what_can_be_changed_in_place(config):
    config.beat_schedule["x"] = {}

    assert Config({}).beat_schedule == {}


def test_objects_are_read_once_more_when_they_have_changed():
    class Source:
        CELERY_TASK_DEFAULT_QUEUE = "before"
        CELERY_OWN = 1

    config = Config({"task_default_priority": 3})
    config.add_object(Source, "CELERY")
    config.update(task_acks_late=True)
    assert (config.task_default_queue, config.own) == ("before", 1)

    del Source.CELERY_TASK_DEFAULT_QUEUE, Source.CELERY_OWN
    Source.CELERY_TASK_TIME_LIMIT = 5
    config.reread()

    assert "own" not in config
    assert (config.task_default_queue, config.task_time_limit) == ("celery", 5)
    assert (config.task_default_priority, config.task_acks_late) == (3, True)
