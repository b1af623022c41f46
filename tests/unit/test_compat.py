from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dask_facade import compat
from dask_facade.compat import HOMES

INSTALL = "import dask_facade; dask_facade.install_as_celery()\n"


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process of its own, with *path* before all else."""
    first = "" if path is None else f"import sys; sys.path.insert(0, {str(path)!r})\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", first + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(code: str, path: Path | None = None) -> str:
    done = run(code, path)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def real_celery(tmp_path: Path) -> Path:
    """A folder with a package that stands for an installed Celery."""
    package = tmp_path / "celery"
    package.mkdir()
    (package / "__init__.py").write_text("real = True\n")
    (package / "only_there.py").write_text("")
    return tmp_path


def test_celery_means_this_package_from_then_on():
    code = (
        "import celery\n"
        "from celery import Celery, shared_task, states\n"
        "print(celery.Celery is dask_facade.Celery is Celery, states.SUCCESS)"
    )

    assert said(INSTALL + code) == "True SUCCESS"


def test_a_module_is_one_object_under_both_names():
    code = (
        "import celery.canvas, celery.app.task, celery.utils.log, dask_facade.utils.log\n"
        "import dask_facade.task\n"
        "print(celery.canvas is dask_facade.canvas, celery.app.task is dask_facade.task,\n"
        "      celery.utils.log is dask_facade.utils.log)"
    )

    assert said(INSTALL + code) == "True True True"


def test_a_module_keeps_its_name_and_its_spec():
    code = (
        "import celery.result\n"
        "import importlib\n"
        "print(celery.result.__name__, celery.result.__spec__.name)\n"
        "importlib.reload(celery.result)"
    )

    assert said(INSTALL + code) == "dask_facade.result dask_facade.result"


def test_the_package_of_the_app_leaves_our_own_module_of_that_name_alone():
    code = (
        "import celery.app.base\nfrom dask_facade import app\n"
        "print(celery.app.base is app, celery.app is app)"
    )

    assert said(INSTALL + code) == "True False"


def test_what_is_not_there_is_a_missing_module_of_that_name():
    code = (
        "try:\n    import celery.nothing\n"
        "except ModuleNotFoundError as error:\n    print(error.name, '|', error)"
    )

    assert said(INSTALL + code) == (
        "celery.nothing | No module named 'celery.nothing': dask_facade stands for celery here, "
        "and has no such module"
    )


def test_every_home_is_there():
    code = (
        "import importlib\n"
        f"for name in {sorted(HOMES)!r}:\n"
        "    if name != 'celery.contrib.pytest':\n"
        "        assert importlib.import_module(name) is not None, name\n"
        "        assert importlib.import_module(name) is importlib.import_module(\n"
        "            dask_facade.compat.HOMES[name]), name\n"
        "print('all')"
    )

    assert said(INSTALL + code) == "all"


def test_it_goes_before_an_installed_celery_that_nobody_imported_yet(real_celery):
    assert said(INSTALL + "import celery; print(celery.__name__)", real_celery) == (
        "dask_facade.celery"
    )


def test_no_module_of_an_installed_celery_is_mixed_in(real_celery):
    done = run(INSTALL + "import celery.only_there", real_celery)

    assert "has no such module" in done.stderr


def test_where_celery_was_imported_already_it_says_what_to_do(real_celery):
    done = run("import celery\n" + INSTALL, real_celery)

    assert "celery was imported already, from" in done.stderr
    assert "call install_as_celery() before anything imports it" in done.stderr


def test_called_twice_it_does_nothing_more():
    code = "import sys; before = list(sys.meta_path)\n" + INSTALL + "print(before == sys.meta_path)"

    assert said(INSTALL + code) == "True"


def test_a_process_that_was_told_by_its_environment_does_the_same(monkeypatch):
    monkeypatch.setenv(compat.VARIABLE, "1")
    code = "from dask_facade import compat; compat.inherit(); import celery; print(celery.__name__)"

    assert said(code) == "dask_facade.celery"


def test_one_that_was_told_nothing_does_not(monkeypatch, real_celery):
    monkeypatch.delenv(compat.VARIABLE, raising=False)
    code = "from dask_facade import compat; compat.inherit(); import celery; print(celery.real)"

    assert said(code, real_celery) == "True"


def test_importing_this_package_touches_nothing(real_celery):
    assert said("import dask_facade, celery; print(celery.real)", real_celery) == "True"


def test_a_task_made_through_celery_is_one_of_ours():
    code = (
        "from celery import Celery\n"
        "from celery.utils.log import get_task_logger\n"
        "app = Celery('shop', broker='redis://nowhere', backend='redis://nowhere')\n"
        "app.conf.task_always_eager = True\n"
        "@app.task(bind=True)\n"
        "def add(self, x, y):\n    return x + y, self.request.is_eager\n"
        "print(add.delay(2, 3).get(), isinstance(add, dask_facade.Task), app.conf.broker_url)"
    )

    assert said(INSTALL + code) == "(5, True) True redis://nowhere"


@pytest.fixture
def neighbours(tmp_path: Path) -> Path:
    """A folder with packages that stand for kombu and billiard."""
    for package, names in {
        "billiard": ("SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded", "WorkerLostError"),
        "kombu": ("DecodeError", "EncodeError", "OperationalError"),
    }.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        classes = "".join(f"class {name}(Exception):\n    pass\n\n\n" for name in names)
        (tmp_path / package / "exceptions.py").write_text(classes)
    return tmp_path


@pytest.mark.parametrize(
    ("ours", "package", "name"),
    [
        ("EncodeError", "kombu", "EncodeError"),
        ("LedgerUnavailable", "kombu", "OperationalError"),
        ("SoftTimeLimitExceeded", "billiard", "SoftTimeLimitExceeded"),
        ("TimeLimitExceeded", "billiard", "TimeLimitExceeded"),
        ("WorkerLostError", "billiard", "WorkerLostError"),
    ],
)
def test_errors_are_caught_by_the_names_of_kombu_and_billiard(neighbours, ours, package, name):
    code = (
        f"from dask_facade import exceptions\nfrom {package}.exceptions import {name}\n"
        f"try:\n    raise exceptions.{ours}('told')\n"
        f"except {name} as error:\n    print(error)"
    )

    assert said(code, neighbours) == "told"


PROJECT = {
    "proj/__init__.py": "from .celery import app as celery_app\n",
    "proj/celery.py": (
        "from celery import Celery\n"
        "app = Celery('proj')\n"
        "app.config_from_object('django.conf:settings', namespace='CELERY')\n"
        "app.autodiscover_tasks()\n"
    ),
    "proj/settings.py": "INSTALLED_APPS = ['dask_facade', 'shop']\n",
    "shop/__init__.py": "",
    "shop/tasks.py": "from celery import shared_task\n@shared_task\ndef price(): ...\n",
}
SET_UP = (
    "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'proj.settings'\n"
    "import django; django.setup()\n"
    "from proj import celery_app\n"
    "print(*(name for name in celery_app.tasks if name.startswith('shop')))"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Django project laid out as Celery's documentation has it."""
    for name, code in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    return tmp_path


def test_it_works_at_the_top_of_a_package_that_imports_its_app(project):
    package = project / "proj" / "__init__.py"
    package.write_text(INSTALL + package.read_text())

    assert said(SET_UP, project) == "shop.tasks.price"


def test_who_calls_it_in_the_settings_of_such_a_package_is_told_where(project, real_celery):
    (project / "proj" / "celery.py").write_text("import celery as app\n")
    (project / "proj" / "settings.py").write_text(INSTALL)

    done = run(SET_UP, project)

    assert "first lines of the project's package" in done.stderr


def test_a_task_of_djangos_has_what_every_task_has():
    code = (
        "from celery.contrib.django.task import DjangoTask\n"
        "from celery import Task\n"
        "print(issubclass(DjangoTask, Task), hasattr(DjangoTask, 'delay_on_commit'))"
    )

    assert said(INSTALL + code) == "True True"
