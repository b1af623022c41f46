from __future__ import annotations

import importlib
import subprocess
import sys
import threading

import pytest

from dask_facade.exceptions import NotRegistered
from dask_facade.registry import TaskRegistry
from dask_facade.task import Task
from tests.unit.listening import DEADLINE


@pytest.fixture
def registry():
    return TaskRegistry()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that can be imported under the name that is returned."""
    monkeypatch.syspath_prepend(tmp_path)

    def module(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return module


def task(name):
    made = Task()
    made.name = name
    return made


def test_a_task_is_found_by_its_name(registry):
    made = task("add")
    registry.register(made)

    assert registry["add"] is registry.find("add") is registry.known("add") is made
    assert "add" in registry
    assert list(registry) == ["add"]
    assert len(registry) == 1


def test_a_task_takes_the_place_of_one_of_the_same_name(registry):
    registry.register(task("add"))
    second = task("add")

    registry.register(second)

    assert registry["add"] is second
    assert len(registry) == 1


@pytest.mark.parametrize("name", ["add", "no_such_module.add", "a.b.c", "", ".", ".add", "..a.b"])
def test_an_unknown_name_is_told(registry, name):
    with pytest.raises(NotRegistered) as caught:
        registry.find(name)

    assert isinstance(caught.value, KeyError)
    assert repr(name) in str(caught.value)
    assert registry.known(name) is None
    assert registry.get(name) is None


def test_the_module_in_a_name_is_imported(registry, module, monkeypatch):
    monkeypatch.setattr("dask_facade.registry.tasks", registry)
    name = module(
        "tasks_by_name",
        "from dask_facade import registry, task\n"
        "made = task.Task(); made.name = 'tasks_by_name.add'\n"
        "registry.tasks.register(made)\n",
    )

    assert registry.find(f"{name}.add").name == "tasks_by_name.add"


def test_a_module_that_cannot_be_imported_is_the_reason(registry, module):
    name = module("tasks_that_raise", "1 / 0")

    with pytest.raises(NotRegistered, match="ZeroDivisionError: division by zero") as caught:
        registry.find(f"{name}.add")

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Sources


def test_a_source_is_called_once_and_only_when_an_unknown_name_is_asked_for(registry):
    calls = []
    registry.register(task("known"))
    registry.add_source(lambda: calls.append("source"))

    registry.find("known")
    assert calls == []

    for _ in range(2):
        with pytest.raises(NotRegistered):
            registry.find("unknown")
    assert calls == ["source"]


def test_what_a_source_registers_is_found(registry):
    registry.add_source(lambda: registry.register(task("one")))
    registry.add_source(lambda: registry.register(task("two")))

    assert registry.find("two").name == "two"
    assert set(registry) == {"one", "two"}


@pytest.mark.parametrize(
    "look", [lambda registry: "late" in registry, len, list, TaskRegistry.discover],
    ids=["in", "len", "list", "discover"],
)  # fmt: skip
def test_every_look_at_the_whole_calls_the_sources(registry, look):
    registry.add_source(lambda: registry.register(task("late")))

    look(registry)

    assert registry.known("late") is not None


def test_a_source_that_raises_is_the_reason_and_is_called_again(registry):
    answers = [ZeroDivisionError("first"), None]

    def source():
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        registry.register(task("late"))

    registry.add_source(source)

    with pytest.raises(NotRegistered, match="ZeroDivisionError: first"):
        registry.find("late")
    assert registry.find("late").name == "late"


def test_what_a_source_raises_passes_through_discover(registry):
    def source():
        raise ZeroDivisionError

    registry.add_source(source)

    with pytest.raises(ZeroDivisionError):
        registry.discover()


def test_a_source_may_look_for_tasks_itself(registry):
    """As a module of tasks does that builds a canvas while it is imported."""
    calls = []

    def first():
        calls.append("first")
        assert registry.find("two").name == "two"
        assert "unknown" not in registry

    registry.add_source(first)
    registry.add_source(lambda: registry.register(task("two")))
    registry.add_source(lambda: calls.append("third"))

    registry.discover()

    assert calls == ["first", "third"]


def test_a_thread_waits_for_the_sources_that_another_one_calls(registry):
    begun, go_on = threading.Event(), threading.Event()
    found = []

    def source():
        begun.set()
        assert go_on.wait(DEADLINE)
        registry.register(task("late"))

    registry.add_source(source)
    first = threading.Thread(target=registry.discover)
    second = threading.Thread(target=lambda: found.append(registry.find("late").name))
    first.start()
    assert begun.wait(DEADLINE)
    second.start()
    go_on.set()
    first.join(DEADLINE)
    second.join(DEADLINE)

    assert found == ["late"]


def test_celerys_own_tasks_are_found_in_a_process_that_imported_nothing_else():
    script = (
        "from dask_facade.registry import tasks\n"
        "print([tasks.find(name).name for name in ('celery.accumulate', 'dask_facade.errback')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "['celery.accumulate', 'dask_facade.errback']"
