"""The documents on Dask jobs: their code runs with imports renamed, and so do the demo's pages.

The documents lie beside the checkout, as the seeds of the project: none of their text is here but
what is renamed in it.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dask_facade import DaskFacade, job_manager, schedulers
from dask_facade.cluster.connection import close_all
from dask_facade.named.statuses import TERMINAL
from tests.cluster.documents import text_of
from tests.cluster.portal import DEMO, portal
from tests.cluster.processes import ROOT, DispatcherProcess, wait_for

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")

DEMO_SITE = ROOT / "demo_site"
BLOCK = re.compile(r"^( *)(?:\.\. code-block:: python|::)\n((?:\1 +.*\n|\s*\n)+)", re.M)
MODULE = "job_functions_of_the_documents"
RENAMED = (
    ("tethysapp.my_first_app.job_functions", MODULE),
    ("tethysapp.dask_tutorial.job_functions", MODULE),
    ("from .app import App", "from dask_facade import job_manager as ours, schedulers"),
    ("App.get_scheduler", "schedulers.get_scheduler"),
    ("app.get_scheduler", "schedulers.get_scheduler"),
    ("App.get_job_manager()", "ours"),
    ("def muliple_leaf_job", "def multiple_leaf_job"),  # it is called so below
    ("import delayed_job, ", "import "),
    ("import muliple_leaf_job", "import multiple_leaf_job"),
    ("dask_job.result", "job.result"),  # it is called so above
)
GIVEN = """
def inc(x): return x + 1
def double(x): return x + 2
def add(x, y): return x + y
foo, bar, baz = inc, double, add
def sum_up(values): return sum(values)
def convert_to_dollar_sign(result): return f"${result}"
def custom_processing_function(result): return {"custom": result}
"""
FRAME = """
import random
from django.http import HttpResponse, HttpResponseRedirect
from dask_facade import job_manager, schedulers
from dask_facade.schedulers import DaskJobException

class App:
    reverse = staticmethod(lambda name, kwargs=None: f"/{name}/")
    redirect = staticmethod(HttpResponseRedirect)
    render = staticmethod(lambda request, template, context: HttpResponse(str(context)))

def Button(**said): return said
def controller(function): return function
def reverse(name): return name
def redirect(name): return name
"""


def blocks_of(document: str) -> list[str]:
    """Return the blocks of code of a document, renamed."""
    codes = [textwrap.dedent(code) for _, code in BLOCK.findall(text_of(document))]
    for old, new in RENAMED:
        codes = [code.replace(old, new) for code in codes]
    return [re.sub(r"^ *:emphasize-lines:.*\n", "", code, flags=re.M) for code in codes]


def defines(code: str, name: str) -> bool:
    return f"def {name}(" in code


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The module of functions that both documents tell one to write, in a folder."""
    names = ("delayed_job", "distributed_job", "multiple_leaf_job")
    codes = [*blocks_of("000"), *blocks_of("001")]
    module = [code for code in codes if any(defines(code, name) for name in names)]
    assert len(module) == 4
    folder = tmp_path_factory.mktemp("functions")
    (folder / f"{MODULE}.py").write_text("\n".join([GIVEN, *module]))
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module", autouse=True)
def dispatcher(
    app: DaskFacade, environment: dict[str, str], functions: Path
) -> Iterator[DispatcherProcess]:
    sys.path.append(str(DEMO_SITE))
    path = f"{functions}:{DEMO_SITE}"
    dispatcher = DispatcherProcess(["--workers", "2"], PYTHONPATH=path, **environment)
    try:
        dispatcher.wait_until_ready()
        schedulers.create_scheduler("dask_primary", host=dispatcher.scheduler)
        yield dispatcher
    finally:
        close_all()
        dispatcher.stop()


def names_after(code: str, user: str, **given: Any) -> dict[str, Any]:
    """Run a block as the body of a view; return what it has defined then."""
    body = textwrap.indent(code, "    ")
    names: dict[str, Any] = {}
    before = FRAME + "".join(f"\n{name} = None" for name in given)
    exec(f"{before}\ndef view(request):\n{body}\n    return locals()", names)
    names.update(given)
    said: dict[str, Any] = names["view"](SimpleNamespace(user=user))
    return said


def results_of(user: str) -> list[Any]:
    """Wait until all jobs of a user have ended well; return their results."""
    jobs = list(job_manager.list_jobs(user=user))
    assert jobs
    wait_for(lambda: all(job.status in TERMINAL for job in jobs), "the end of all jobs")
    assert {job.status for job in jobs} == {"Complete"}, [job.status_message for job in jobs]
    return [job.result for job in jobs]


@pytest.mark.parametrize(
    ("begins", "results"),
    [("delayed_job", [15]), ("distributed_job", ["$15"]), ("multiple_leaf_job", [3, 5, 7])],
)
def test_a_view_of_the_first_document_runs(begins: str, results: list[Any]) -> None:
    (code,) = [
        code
        for code in blocks_of("000")
        if f" {begins}" in code and "create_job(" in code and not defines(code, begins)
    ]

    names_after(code, user := f"reader of {begins}")

    assert results_of(user) == results


def test_results_are_read_processed_and_forgotten_as_the_first_document_says(
    functions: Path,
) -> None:
    from importlib import import_module

    ours = import_module(MODULE)
    *_, read, custom, forgotten = blocks_of("000")
    given = {
        "custom_processing_function": ours.custom_processing_function,
        "name": "forgotten",
        "job_manager": job_manager,
        "scheduler": schedulers.get_scheduler("dask_primary"),
    }
    for code in (custom, forgotten):
        names_after(code, "reader", **given)["dask"].execute(ours.delayed_job())

    assert results_of("reader") == [{"custom": 15}, None]
    (first, _) = job_manager.list_jobs(user="reader")
    said = names_after(read, "reader", job_manager=job_manager, job_id=first.pk)
    assert said["result"] == {"custom": 15}


@pytest.mark.parametrize(
    ("job_type", "results"),
    [("delayed", [15]), ("distributed", ["$15"]), ("multiple-leaf", [3, 5, 7])],
)
def test_the_controller_of_the_second_document_runs(job_type: str, results: list[Any]) -> None:
    (code,) = [code for code in blocks_of("001") if defines(code, "run_job")]
    names: dict[str, Any] = {}
    exec(FRAME + code, names)

    response = names["run_job"](SimpleNamespace(user=f"student {job_type}"), job_type)

    assert response["Location"] == "/jobs_table/"
    assert results_of(f"student {job_type}") == results


def test_the_start_page_of_the_second_document_has_its_buttons() -> None:
    (code,) = [code for code in blocks_of("001") if defines(code, "home")]
    names: dict[str, Any] = {}
    exec(FRAME + code, names)

    page = names["home"](SimpleNamespace(user="student")).content.decode()

    assert "Dask Multiple Leaf Jobs" in page


# The demo


@pytest.fixture
def browser() -> Client:
    return Client()


@pytest.fixture
def visitor(app: DaskFacade, browser: Client) -> Iterator[User]:
    """Who is logged in, on a site with one database."""
    with portal(app, *DEMO):
        user = User.objects.create_user("visitor")
        browser.force_login(user)
        yield user
        user.delete()


def test_the_demos_buttons_start_jobs_that_its_table_shows(browser: Client, visitor: User) -> None:
    for job_type in ("delayed", "distributed", "multiple-leaf"):
        response = browser.post(f"/tutorial/run/{job_type}/")
        assert response["Location"] == "/tutorial/jobs/"

    assert results_of(str(visitor.pk)) == [15, "$15", [3, 5, 7], 3, 5, 7]
    page = browser.get("/tutorial/jobs/").text
    assert page.count('<span class="dask-state dask-state-success">Complete</span>') == 6
    assert "3 Complete" in page
    job = job_manager.list_jobs(user=visitor).last()
    assert ">7</pre>" in browser.get(f"/jobs/jobs/{job.pk}/results/page/").text


def test_actions_of_the_table_work_on_the_cluster(browser: Client, visitor: User) -> None:
    from tutorial.job_functions import delayed_job

    job = job_manager.create_job("prepared", visitor)
    job.prepare(delayed_job())
    address = f"/jobs/jobs/{job.pk}"

    browser.post(f"{address}/run/", {"next": "/tutorial/jobs/"})
    assert results_of(str(visitor.pk)) == [15]
    assert "All of this job runs again" in browser.post(f"{address}/resubmit/").text
    assert job_manager.get_job(job.pk).ledger_id == (first := _ledger_id(job.pk))
    browser.post(f"{address}/resubmit/", {"confirmed": "1"})

    assert results_of(str(visitor.pk)) == [15]
    assert _ledger_id(job.pk) != first
    browser.post(f"{address}/delete/", {"confirmed": "1"})
    assert not job_manager.list_jobs(user=visitor)


def _ledger_id(pk: int) -> str:
    job = job_manager.get_job(pk)
    assert job is not None
    return job.ledger_id
