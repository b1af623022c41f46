"""What ``--write`` makes of a module."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dask_facade.porting.rewriting import Renamed, rename, write
from dask_facade.porting.sources import parse, read_python


def renamed(text: str) -> Renamed:
    return rename(parse(Path("module.py"), text, "utf-8"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "from celery import Celery as C, shared_task",
            "from dask_facade import Celery as C, shared_task",
        ),
        ("from celery import states", "from dask_facade import states"),
        ("from celery import uuid", "from dask_facade.celery import uuid"),
        # one module that has them all
        ("from celery import Celery, uuid", "from dask_facade.celery import Celery, uuid"),
        ("from celery import app", "from dask_facade.celery import app"),
        ("from celery.result import AsyncResult", "from dask_facade.result import AsyncResult"),
        (
            "from celery.utils.log import get_task_logger",
            "from dask_facade.utils.log import get_task_logger",
        ),
        ("from celery.utils import log", "from dask_facade.utils import log"),
        ("from celery.app.task import Task", "from dask_facade.task import Task"),
        ("from celery.worker import control", "from dask_facade.worker import commands as control"),
        ("from celery.worker import control as c", "from dask_facade.worker import commands as c"),
        ("from celery.signals import *", "from dask_facade.signals import *"),
        (
            "from  celery.result  import (\n  AsyncResult,  # one\n)  # two",
            "from  dask_facade.result  import (\n  AsyncResult,  # one\n)  # two",
        ),
        (
            "from billiard.exceptions import SoftTimeLimitExceeded",
            "from dask_facade.exceptions import SoftTimeLimitExceeded",
        ),
        (
            "try:\n\tfrom celery import group\nexcept ImportError: pass",
            "try:\n\tfrom dask_facade import group\nexcept ImportError: pass",
        ),
        (
            "import celery.schedules as s\ns.crontab()",
            "import dask_facade.schedules as s\ns.crontab()",
        ),
        (
            "import celery as c\n@c.shared_task\ndef f(): ...",
            "import dask_facade as c\n@c.shared_task\ndef f(): ...",
        ),
        (
            "import celery\n@celery.shared_task\ndef f(): ...",
            "import dask_facade as celery\n@celery.shared_task\ndef f(): ...",
        ),
        # what the package itself does not have
        (
            "import celery\ncelery.states.SUCCESS",
            "import dask_facade.celery as celery\ncelery.states.SUCCESS",
        ),
        ("import celery\nprint(celery)", "import dask_facade.celery as celery\nprint(celery)"),
        (
            "try: import celery\nexcept ImportError: celery = None",
            "try: import dask_facade.celery as celery\nexcept ImportError: celery = None",
        ),
        ("import os, celery, sys", "import os, dask_facade as celery, sys"),
        # names of modules below it are spelt out
        (
            "import celery.schedules\nx = celery.schedules.crontab()",
            "import dask_facade.schedules\nx = dask_facade.schedules.crontab()",
        ),
        (
            "import celery.app.task\nclass T(celery.app.task.Task): ...",
            "import dask_facade.task\nclass T(dask_facade.task.Task): ...",
        ),
        (
            "if x:\n    import celery\n    celery.utils.log.get_logger(celery.uuid())",
            "if x:\n    import dask_facade.celery\n    import dask_facade.utils.log\n"
            "    dask_facade.utils.log.get_logger(dask_facade.celery.uuid())",
        ),
        (
            "import os, celery; celery.schedules.crontab, celery.uuid",
            "import os, dask_facade.celery, dask_facade.schedules; "
            "dask_facade.schedules.crontab, dask_facade.celery.uuid",
        ),
        (
            "import celery\nimport celery.schedules\ncelery.Celery, celery.schedules.crontab",
            "import dask_facade\nimport dask_facade.schedules\n"
            "dask_facade.Celery, dask_facade.schedules.crontab",
        ),
        ('X = "celery.beat:PersistentScheduler"', 'X = "dask_facade.beat:PersistentScheduler"'),
        ("X = 'celery.app.task.Task'", "X = 'dask_facade.task.Task'"),
        ("patch('celery.app.task.Task.apply_async')", "patch('dask_facade.task.Task.apply_async')"),
        ("mock.patch('celery.current_app')", "mock.patch('dask_facade.current_app')"),
    ],
)
def test_imports_are_renamed(before, after):
    assert renamed(before).text == after
    assert renamed(after) == Renamed(after, 0, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "from celery import Celery, bootsteps",
            "from dask_facade import Celery\nfrom celery import bootsteps",
        ),
        (
            "    from celery import bootsteps, Celery  # noqa",
            "    from celery import bootsteps\n    from dask_facade import Celery  # noqa",
        ),
        (
            "if x: from celery import Celery, bootsteps; y = 1",
            "if x: from dask_facade import Celery; from celery import bootsteps; y = 1",
        ),
        (
            "from celery import (  # all\n    bootsteps,  # old\n    Celery as C,\n    # a group\n"
            "    group\n)",
            "from celery import (  # all\n    bootsteps,  # old\n)\n"
            "from dask_facade import (\n    Celery as C,  # a group\n    group,\n)",
        ),
        (
            "from celery import Celery, \\\r\n    bootsteps\r\n",
            "from dask_facade import (\r\n    Celery,\r\n)\r\n"
            "from celery import (\r\n    bootsteps,\r\n)\r\n",
        ),
    ],
)
def test_what_has_no_counterpart_stays_an_import_of_celerys(before, after):
    if before.startswith(" "):
        before, after = f"if x:\n{before}", f"if x:\n{after}"

    assert renamed(before).text == after
    assert renamed(after).count == 0


@pytest.mark.parametrize(
    "text",
    [
        "from celery import bootsteps",
        "from celery.events import *",
        "from .celery import app",
        "from proj.celery import app",
        "import celery.bootsteps",
        "import celery_progress, mycelery",
        # loggers, tasks and queues
        'LOGGERS = {"celery": 1, "celery.task": 2, "celery.app.trace": 3, "celery.beat": 4}',
        'app.send_task("celery.chord"); app.send_task("celery.ping")',
        'x = f"celery.app.task.Task"',
        '"""See celery.app.task.Task."""',
        "# from celery import Celery",
    ],
)
def test_all_else_stays(text):
    assert renamed(text) == Renamed(text, 0, ())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import celery\ncelery = celery.Celery()", "means something else"),
        ("import celery\ndef f(celery): ...", "means something else"),
        ("import celery\nmatch x:\n    case [*celery]: ...", "means something else"),
        ("import celery.result as s\nimport celery.states as s", "means something else"),
        ("import celery.states\ncelery = None", "as a whole"),
        ("import celery\nfrom proj import app as celery", "means something else"),
        ("import celery.schedules\nprint(celery)", "as a whole"),
        ("import celery as c\nc.bootsteps.Step", "celery.bootsteps is asked of it"),
        ("import celery\ncelery.bootsteps.Step", "celery.bootsteps.Step is asked of it"),
        ("import celery\nimport celery.bootsteps", "celery.bootsteps is asked of it"),
        ("import celery.schedules\nx: 'celery.schedules.crontab'", "annotation"),
        ('X = "celery.app." "task.Task"', "made of parts"),
    ],
)
def test_what_cannot_be_renamed_for_sure_is_left_and_told(text, why):
    said = renamed(text)

    assert (said.text, said.count) == (text, 0)
    assert why in said.left[0].why


def test_positions_are_those_of_characters():
    before = "x = 'é𝄞'; import celery.schedules; y = 'ü', celery.schedules.crontab\f\nz = 1"

    assert renamed(before).text == before.replace("celery.", "dask_facade.")


@pytest.mark.parametrize(
    ("content", "after"),
    [
        (b"from celery import group\r\nx = 1\r\n", b"from dask_facade import group\r\nx = 1\r\n"),
        (b"x = 1\rfrom celery import group\r", b"x = 1\rfrom dask_facade import group\r"),
        (b"\xef\xbb\xbffrom celery import group", b"\xef\xbb\xbffrom dask_facade import group"),
        (
            b"# coding: latin-1\nx = '\xe9'; from celery import group\n",
            b"# coding: latin-1\nx = '\xe9'; from dask_facade import group\n",
        ),
    ],
)
def test_encodings_and_ends_of_lines_stay(tmp_path, content, after):
    path = tmp_path / "module.py"
    path.write_bytes(content)

    source = read_python(path)
    write(source, rename(source).text)

    assert path.read_bytes() == after


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path):
    path, link = tmp_path / "module.py", tmp_path / "link.py"
    path.write_text("from celery import group\n")
    path.chmod(0o750)
    link.symlink_to(path)

    source = read_python(link)
    write(source, rename(source).text)

    assert path.read_text() == "from dask_facade import group\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert link.is_symlink()


def test_what_cannot_be_written_leaves_the_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "module.py"
    path.write_text("from celery import group\n")
    source = read_python(path)

    def full(*_paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(source, rename(source).text)

    assert path.read_text() == "from celery import group\n"
    assert os.listdir(tmp_path) == ["module.py"]
