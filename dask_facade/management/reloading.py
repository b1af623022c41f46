"""Source files that change while a process runs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.apps import apps
from django.utils.autoreload import file_changed, get_child_arguments, get_reloader

INSTALLED = {"site-packages", "dist-packages"}
LOADS = "import django; django.setup(); from dask_facade.registry import tasks; tasks.discover()"


def watch(changed: Callable[[Path], None]) -> None:
    """Call *changed*, in a thread, with each file of the project's code that was written."""
    reloader = get_reloader()
    for directory in _directories():
        reloader.watch_dir(directory, "**/*.py")

    def tell(sender: Any, file_path: Path, **kwargs: Any) -> bool:
        changed(file_path)
        return True  # or Django would end the process

    file_changed.connect(tell, weak=False)
    threading.Thread(target=reloader.run_loop, name="dask-facade-watch", daemon=True).start()


def loads() -> bool:
    """Tell whether the project, with its tasks, can be imported as it now is.

    A process of its own tries, and prints what is wrong.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, "-c", LOADS], env=environment).returncode == 0


def start_anew() -> None:
    """Put a new process of the same command, with the code as it now is, in this one's place."""
    arguments = [str(each) for each in get_child_arguments()]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(arguments[0], arguments)


def _directories() -> set[Path]:
    """Return where the project's code is: its apps, and the package that has the settings.

    The tasks need not be imported here; what is, is watched besides.
    """
    settings = importlib.import_module(os.environ["DJANGO_SETTINGS_MODULE"].partition(".")[0])
    found = [*getattr(settings, "__path__", []), *(app.path for app in apps.get_app_configs())]
    return {path for path in map(Path, found) if not INSTALLED.intersection(path.parts)}
