"""``report`` and ``shell``: the project itself."""

from __future__ import annotations

import code
import importlib
import rlcompleter
from importlib.util import find_spec
from typing import Any

import click

from dask_facade import canvas
from dask_facade.commands.invocation import Invocation
from dask_facade.commands.parameters import json_option
from dask_facade.task import Task

IPYTHON, BPYTHON, PYTHON = SHELLS = ("IPython", "bpython", "python")
CANVAS = ("chain", "chord", "chunks", "group", "signature", "subtask", "xmap", "xstarmap")


@click.command()
@json_option
@click.pass_obj
def report(invocation: Invocation) -> None:
    """Print what a report of a bug should say of this installation."""
    app, output = invocation.app, invocation.output
    app.loader.import_default_modules()
    told = app.bugreport()
    if output.as_json:
        output.document({"report": told})
    else:
        output.line(told)


@click.command()
@click.option("-I", "--ipython", "wanted", flag_value=IPYTHON, help="Use IPython.")
@click.option("-B", "--bpython", "wanted", flag_value=BPYTHON, help="Use bpython.")
@click.option("--python", "wanted", flag_value=PYTHON, help="Use Python's own.")
@click.option("-T", "--without-tasks", is_flag=True, help="Leave the tasks out.")
@click.pass_obj
def shell(invocation: Invocation, wanted: str | None, without_tasks: bool) -> None:
    """Start Python with the app, its tasks, and chain, group, chord ... at hand."""
    if wanted is not None and wanted != PYTHON and find_spec(wanted) is None:
        raise click.ClickException(f"{wanted} is not installed here")
    app = invocation.app
    app.loader.import_default_modules()
    names = _names(app, without_tasks=without_tasks)
    match wanted or next(each for each in SHELLS if each == PYTHON or find_spec(each)):
        case "IPython":
            importlib.import_module(IPYTHON).start_ipython(argv=[], user_ns=names)
        case "bpython":
            importlib.import_module(BPYTHON).embed(names)
        case _:
            if find_spec("readline"):  # not each Python has it
                readline = importlib.import_module("readline")
                readline.set_completer(rlcompleter.Completer(names).complete)
                readline.parse_and_bind("tab: complete")
            code.interact(local=names)


def _names(app: Any, *, without_tasks: bool) -> dict[str, Any]:
    """Return what stands at hand, under Celery's names and the tasks' own."""
    names = {each: getattr(canvas, each) for each in CANVAS}
    names |= {"AsyncResult": app.AsyncResult, "Task": Task, "app": app, "celery": app}
    if not without_tasks:
        names |= {
            getattr(task, "__name__", type(task).__name__): task  # an instance of a class
            for name, task in app.tasks.items()
            if not name.startswith("celery.")
        }
    return names
