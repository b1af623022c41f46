"""What can be done about a job in a table, and in which statuses."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.text import slugify

from dask_facade.exceptions import DaskJobException
from dask_facade.models import DaskJob
from dask_facade.named import statuses

logger = logging.getLogger(__name__)

_OF_PAGE = re.compile(r"https?:|[^:]*([/?#]|\Z)", re.IGNORECASE)  # not: what runs a script

LOGS = "logs"
RESULTS = "results"
ALL = frozenset(statuses.STATUSES)


@dataclass(frozen=True, slots=True)
class Action:
    """Something that is done about a job: a callback, or a page that is linked.

    *callback* gets the request, which is a POST, and the job; it may return a response, or words
    to be shown. *url* is an address, or tells one of a job; "": there is none. *fitting* are the
    statuses in which it is enabled, if *enabled_callback*, too, agrees: in a table it sees the
    job's `standing`, and its `status`, as the table has read them. With *confirmation* a page asks
    that before.
    """

    label: str
    callback: Callable[[HttpRequest, DaskJob], Any] | None = None
    url: str | Callable[[DaskJob], str] = ""
    fitting: frozenset[str] = ALL
    enabled_callback: Callable[[DaskJob], bool] | None = None
    confirmation: str = ""
    name: str = ""  # as it stands in addresses; without, it is made of the label

    @property
    def key(self) -> str:
        """Its name in addresses."""
        return self.name or slugify(self.label)

    def address(self, job: DaskJob) -> str:
        """Return the address of its page; "" where it has none, or where it is no page's."""
        said = str(self._told(self.url, job) or "") if callable(self.url) else self.url
        return said if _OF_PAGE.match(said) else ""

    def is_enabled(self, job: DaskJob, status: str) -> bool:
        """Tell whether it means something for a job in this status."""
        if statuses.kind_of(status) not in self.fitting:
            return False
        if self.callback is None and self.key not in PAGES and not self.address(job):
            return False
        return self.enabled_callback is None or bool(self._told(self.enabled_callback, job))

    def _told(self, callback: Callable[[DaskJob], Any], job: DaskJob) -> Any:
        """Return what a callback tells of a job, None where it raises: a page shows many."""
        try:
            return callback(job)
        except Exception:  # the project's code
            logger.exception("action %r is disabled for job %s: it cannot be asked", self.key, job)
            return None


def _run(request: HttpRequest, job: DaskJob) -> str:
    job.execute()
    return f"{job.name} is submitted."


def _pause(request: HttpRequest, job: DaskJob) -> str:
    try:
        job.pause()
    except NotImplementedError as error:
        raise DaskJobException(str(error)) from error
    return f"{job.name} is paused."


def _resume(request: HttpRequest, job: DaskJob) -> str:
    job.resume()
    return f"{job.name} goes on."


def _resubmit(request: HttpRequest, job: DaskJob) -> str:
    job.resubmit()
    return f"{job.name} runs again."


def _stop(request: HttpRequest, job: DaskJob) -> str:
    job.stop()
    return f"{job.name} is asked to stop."


def _delete(request: HttpRequest, job: DaskJob) -> str:
    name = job.name
    job.delete()
    return f"{name} is deleted."


def _dashboard(job: DaskJob) -> str:
    address = "" if job.scheduler is None else job.scheduler.dashboard
    return address if address.startswith(("http://", "https://", "/")) else ""


PAGES = frozenset({LOGS, RESULTS})
"""Actions whose pages are ours."""

ACTIONS: Mapping[str, Action] = {
    action.key: action
    for action in (
        Action(
            "Run",
            _run,
            fitting=frozenset({statuses.PENDING, statuses.ERROR}),
            enabled_callback=lambda job: job.execute_time is None and job.has_graph,
        ),
        Action("Pause", _pause, fitting=statuses.PRE_RUNNING),
        Action("Resume", _resume, fitting=frozenset({statuses.PAUSED})),
        Action(
            "Resubmit",
            _resubmit,
            fitting=statuses.TERMINAL,
            confirmation="All of this job runs again.",
        ),
        Action("Logs", name=LOGS, fitting=ALL - {statuses.PENDING}),
        Action("Monitor", url=_dashboard),
        Action("Results", name=RESULTS, fitting=statuses.TERMINAL),
        Action(
            "Stop",
            _stop,
            fitting=statuses.NON_TERMINAL | {statuses.OTHER},
            confirmation="What has been computed of this job is lost.",
        ),
        Action("Delete", _delete, confirmation="The job is stopped, and its result is lost."),
    )
}
"""The actions that every table may have, by name."""
