"""What runs on a Dask worker to make futures of jobs, and outcomes of futures."""

from __future__ import annotations

import logging
import queue
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from dask.sizeof import sizeof
from distributed import Client, Future, Queue, get_worker, secede

from dask_facade.cluster import remote
from dask_facade.cluster.futures import (
    FOLLOWING,
    NAME_TIMEOUT,
    REBUILT,
    end,
    group_name,
    named,
    unname,
)
from dask_facade.exceptions import (
    DecodeError,
    LineClosed,
    LineRefused,
    ResultLost,
    TaskRevokedError,
)
from dask_facade.line import DialledLine, dial
from dask_facade.messages import (
    CLIENT,
    VERSION,
    Hello,
    Look,
    Message,
    Outcome,
    Push,
    Unsure,
)
from dask_facade.packing import pack, unpack
from dask_facade.serialization import (
    dump_exception,
    dumps,
    load_exception,
    loads,
    preview,
    storable,
)
from dask_facade.states import FAILURE, SUCCESS
from dask_facade.worker import preload
from dask_facade.worker.data import WorkerData, client_here, key_of

logger = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds after which the ledger is asked again, should a push have been lost
REDIAL = 0.5  # seconds between two attempts to reach the dispatcher
REFUSED = 30.0  # seconds for which a refusal may pass: our last line may not be known to be gone
WANTED_EVERY = 1.0  # seconds between two looks whether anybody wants to know
LINGER = 3600.0  # seconds for a group's futures to be taken
TRACEBACK_LIMIT = 64 * 1024  # characters; the end is kept


@dataclass(frozen=True, slots=True)
class Site:
    """What a worker must do before it can read what a site's tasks return."""

    settings_module: str  # of Django; "" without
    paths: tuple[str, ...]  # for sys.path, where they exist on the worker


@dataclass(frozen=True, slots=True)
class Contact:
    """How a follower reaches the dispatcher: with a token that its maker got from the ledger."""

    addresses: tuple[str, ...]
    identity: str
    token: str
    site: Site


@dataclass(frozen=True, slots=True)
class Members:
    """A group that is followed."""

    group_id: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """A graph that has ended."""

    job_id: str
    hand: int
    inline_limit: int  # bytes of a result that needs no key
    store_limit: int  # bytes of a result that is stored at all
    site: Site
    ignored: bool = False  # nobody keeps its result
    elsewhere: bool = False  # no runner can take what is kept here


class Description(NamedTuple):
    """How a graph ended, in the fields of an Outcome."""

    state: str
    result: bytes | None
    preview: str
    traceback: str | None
    key: str
    size: int


def same(value: Any) -> Any:
    """Return *value*: the last task of a graph, under a key that only its job has."""
    return value


# From jobs to futures


def future_for(client: Client, outcome: Outcome, site: Site) -> Future[Any]:
    """Return a future of a job that has ended: its value, or its exception.

    Raises ResultLost.
    """
    is_kept = outcome.state == SUCCESS and outcome.result is None and outcome.key
    if is_kept and not remote.is_published(key_of(outcome.key)):
        return named(client, outcome.id, NAME_TIMEOUT)
    return client.submit(
        _rebuild, pack(Push([outcome])), site, key=(REBUILT, outcome.id), pure=False
    )


def future_following(client: Client, job_id: str, contact: Contact) -> Future[Any]:
    """Return a future that ends when the job does."""
    return client.submit(_follow, job_id.encode(), contact, key=(FOLLOWING, job_id), pure=False)


def _rebuild(message: bytes, site: Site) -> Any:
    match unpack(message):
        case Push([outcome]):
            if outcome.key:
                secede()  # what its job returned is still to be computed
            return _value_of(outcome, site)
    raise DecodeError("something else is there where an outcome belongs")


def _follow(job_id: bytes, contact: Contact) -> Any:
    secede()  # it may wait for long, and costs nothing meanwhile
    for outcome in _ends(contact, [job_id.decode()]):
        return _value_of(outcome, contact.site)
    raise ResultLost("nobody wants to know any more")


def fill_queue(members: Members, contact: Contact) -> None:
    """Put the futures of a group's members into its queue as they end; remove it when it is empty.

    That is: when somebody has taken them all, or nobody has for LINGER.
    """
    secede()
    client = client_here()
    futures = Queue(group_name(members.group_id), client=client)
    for outcome in _ends(contact, members.ids):
        try:
            future = future_for(client, outcome, contact.site)
        except ResultLost as error:
            lost = outcome._replace(state=FAILURE, result=dump_exception(error))
            future = future_for(client, lost, contact.site)
        futures.put(future)
    deadline = time.monotonic() + LINGER
    while _is_wanted() and futures.qsize() and time.monotonic() < deadline:
        time.sleep(0.05)
    end(futures)


def _value_of(outcome: Outcome, site: Site) -> Any:
    """Return the job's value, or raise its exception."""
    match outcome:
        case Outcome(state=state) if state == SUCCESS and outcome.result is not None:
            return _read(loads, outcome.result, site)
        case Outcome(state=state) if state == SUCCESS and remote.is_published(key_of(outcome.key)):
            client = client_here()
            return remote.computed(client, remote.published(client, outcome.id))
        case Outcome(state=state) if state == SUCCESS and outcome.key:
            future = named(client_here(), outcome.id, NAME_TIMEOUT)
            if future.key == (FOLLOWING, outcome.id):
                raise ResultLost(f"the result of job {outcome.id!r} was kept by nobody")
            return future.result()
        case Outcome(state=state) if state == SUCCESS:
            return None
    if outcome.result is None:
        raise TaskRevokedError(outcome.preview or "revoked")
    raise _read(load_exception, outcome.result, site)


def _read(load: Callable[[bytes], Any], stored: bytes, site: Site) -> Any:
    """Return what is stored; only what this process cannot read needs the site."""
    try:
        return load(stored)
    except DecodeError:
        preload.prepare(site.settings_module, site.paths)
        return load(stored)


def _is_wanted() -> bool:
    """Tell whether anybody still wants what the task that runs in this thread will return."""
    worker = get_worker()
    state = worker.state.tasks.get(worker.get_current_task())
    return state is not None and state.state in ("executing", "long-running")


def _ends(contact: Contact, ids: Sequence[str]) -> Iterator[Outcome]:
    """Yield how these jobs end, as the dispatcher tells, whichever leads; while it is wanted."""
    addresses: Sequence[str] = contact.addresses
    hello = Hello(VERSION, CLIENT, contact.identity, contact.token)
    left = set(ids)
    refused = time.monotonic() + REFUSED
    while left and _is_wanted():
        try:
            line = dial(addresses, hello)
        except LineRefused:
            if time.monotonic() > refused:
                raise
        except LineClosed as error:
            logger.debug("%s", error)
        else:
            try:
                yield from _told(line, left)
            finally:
                line.close()
            refused = time.monotonic() + REFUSED
        if left:
            time.sleep(REDIAL)
            addresses = WorkerData(get_worker(), client_here()).dispatcher() or addresses


def _told(line: DialledLine, left: set[str]) -> Iterator[Outcome]:
    """Yield what *line* tells of the jobs in *left*, and take them out of it."""
    heard: queue.SimpleQueue[Sequence[Message] | None] = queue.SimpleQueue()
    line.start(heard.put, partial(heard.put, None))
    looked = 0.0
    told = unsure = False  # since then
    while left and _is_wanted():
        # What is too much for one answer comes with the next.
        if time.monotonic() - looked > LOOK_EVERY or (told and unsure):
            try:
                line.send(Look(list(left)))
            except LineClosed:
                return
            looked = time.monotonic()
            told = unsure = False
        try:
            messages = heard.get(timeout=WANTED_EVERY)
        except queue.Empty:
            continue
        if messages is None:
            return
        for message in messages:
            match message:
                case Push(outcomes):
                    for outcome in outcomes:
                        if outcome.id in left:
                            told = True
                            left.discard(outcome.id)
                            yield outcome
                case Unsure():
                    unsure = True


# From futures to outcomes


def describe(subject: Subject) -> Description:
    """Return how a graph ended, and keep its value here as data that is never computed again.

    The job's Variable then names what was kept.
    """
    secede()  # its future may not be at hand
    try:
        _prepare(subject.site)
        future = named(client_here(), subject.job_id, NAME_TIMEOUT)
        try:
            return _described(future, subject)
        finally:
            future.release()  # Dask's own frames hold one that erred until Python collects them
    except Exception as error:  # what a site's modules raise, and its values when they are read
        return _failed(error, subject.store_limit)


def _described(future: Future[Any], subject: Subject) -> Description:
    error = future.exception()
    if error is not None:
        return _failed(_readable(error), subject.store_limit)
    if subject.ignored:
        unname(client_here(), subject.job_id)
        return Description(SUCCESS, None, "", None, "", 0)
    here = get_worker().data  # Dask would send what it holds through a socket to itself
    return _kept(here[future.key] if future.key in here else future.result(), subject)


def _prepare(site: Site) -> None:
    """Make the site's classes known, for exceptions that need them; most graphs do not."""
    try:
        preload.prepare(site.settings_module, site.paths)
    except Exception as error:  # a site's modules may raise anything, or not be there
        logger.debug("the site cannot be set up here: %s", error)


def _kept(value: Any, subject: Subject) -> Description:
    stored: bytes | None = None
    data = WorkerData(get_worker(), client_here())
    if remote.is_remote(value):
        key = data.keep(subject.job_id, subject.hand, value)
        return Description(SUCCESS, None, preview(value), None, key, 0)
    size = sizeof(value)
    if size <= subject.store_limit:
        stored = dumps(value)
        size = len(stored)
    key = data.keep(subject.job_id, subject.hand, value)
    if size <= (subject.store_limit if subject.elsewhere else subject.inline_limit):
        return Description(SUCCESS, stored, preview(value), None, "", 0)
    if size > subject.store_limit:
        stored = None
    return Description(SUCCESS, stored, preview(value), None, key, size)


def _readable(error: BaseException) -> BaseException:
    """Return *error*, unless it is one of Dask's for an exception that cannot be unpickled here."""
    if type(error) is Exception and error.args and isinstance(error.args[0], bytes):
        return DecodeError("the exception of the graph cannot be read on its worker")
    return error


def _failed(error: BaseException, limit: int) -> Description:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in _NOT_THEIRS:
        trace = trace.tb_next
    text = storable("".join(traceback.format_exception(type(error), error, trace)))
    stored = dump_exception(error, limit=limit)
    return Description(FAILURE, stored, preview(error), text[-TRACEBACK_LIMIT:], "", 0)


_NOT_THEIRS = (__name__, "distributed.worker", "dask._task_spec")
