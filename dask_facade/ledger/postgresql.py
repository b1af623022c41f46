"""The leader's session on PostgreSQL: whole batches as arrays, while the lease is locked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dask_facade.exceptions import (
    LeadershipLost,
    LedgerBusy,
    LedgerError,
    LedgerNotReady,
    LedgerRefused,
    LedgerUnavailable,
)
from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.ledger.clock import SERVER_TIME, ServerClock
from dask_facade.ledger.ends import GOES_ON
from dask_facade.ledger.sql import (
    EDGE,
    FRESH,
    IGNORED,
    IN_FLIGHT,
    INSERT_EDGE,
    INSERT_JOB,
    JOB,
    SAID_NO_MORE,
    WAITING,
    WAITING_CALL,
    Statements,
    may_enter,
    statements,
)
from dask_facade.messages import Edge, NewJob, Outcome, Update
from dask_facade.packing import unpack_again
from dask_facade.states import (
    ABORTED,
    FAILURE,
    PENDING,
    READY_STATES,
    RECEIVED,
    RETRY,
    STARTED,
    SUCCESS,
)

if TYPE_CHECKING:
    import psycopg

# Keeps rows from being looked up by state, which PostgreSQL prefers while it knows of few rows.
_PLAIN = "'' || "
_STATEMENTS = statements(
    mark="%s",
    among="= ANY(%s)",
    at="statement_timestamp() + make_interval(secs => %s)",
    moment="to_timestamp(%s::float8)",
    json="%s::jsonb",
    by="",
    plain=_PLAIN,
    own='job.id COLLATE "default"',
)
_BEGIN = f"BEGIN; {_STATEMENTS.fence.replace('%s', '{epoch}')} FOR SHARE"
_SETTINGS = (
    # A leader that is paused inside a transaction would hold the lease's row, and block the next.
    "SET idle_in_transaction_session_timeout = '1s'",
    "SET lock_timeout = '500ms'",
    "SET default_transaction_isolation = 'read committed'",
    # Statements are planned once, perhaps when the tables were empty: by index, whatever grows.
    "SET plan_cache_mode = 'force_generic_plan'",
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",  # what is off costs so much in theory that each run would be compiled first
)
_ENDED = (
    "unnest(%b::text[], %b::int[], %b::int[], %b::text[], %b::bytea[], %b::text[], %b::text[],"
    " %b::float8[], %b::float8[], %b::float8[], %b::text[], %b::bigint[]) AS said"
    " (id, attempt, hand, state, result, preview, traceback, started, finished, runtime, key, size)"
)
_ENDED_FIELDS = 12
_GOING_ON = (
    "unnest(%b::text[], %b::int[], %b::int[], %b::text[], %b::bytea[], %b::text[], %b::text[],"
    " %b::float8[], %b::float8[], %b::bytea[]) AS said"
    " (id, attempt, hand, state, result, preview, traceback, started, delay, options)"
)
_RELEASED = "unnest(%b::text[], %b::int[], %b::int[], %b::int[]) AS said (id, attempt, hand, lost)"
_CLAIMED = (
    "unnest(%b::text[], %b::int[], %b::int[], %b::text[], %b::text[])"
    " AS said (id, attempt, hand, runner, worker)"
)


def _may_enter(states: Collection[str]) -> str:
    return " OR ".join(
        f"said.state = '{state}' AND job.state IN {may_enter(state)}" for state in sorted(states)
    )


_SAID_NO_MORE = SAID_NO_MORE.replace("WHEN said", "WHEN job.said").replace(
    "THEN said", "THEN job.said"
)
_SAME_HAND = "job.id = said.id AND job.attempt = said.attempt AND job.hand = said.hand"
_IGNORED = f"said.state = '{SUCCESS}' AND job.{IGNORED.format(id='said.id')}"
_END = (
    f"UPDATE {JOB} job SET state = said.state,"
    f" result = CASE WHEN {_IGNORED} THEN NULL ELSE said.result END,"
    f" result_preview = CASE WHEN {_IGNORED} THEN '' ELSE said.preview END,"
    " traceback = said.traceback,"
    " started = to_timestamp(said.started), finished = to_timestamp(said.finished),"
    " runtime = CASE WHEN said.started IS NULL THEN NULL ELSE said.runtime END,"
    " key = said.key, size = said.size, said = '', meta = NULL"
    f" FROM {{fence}}{_ENDED} WHERE {_SAME_HAND} AND ({_may_enter(READY_STATES)})"
    " RETURNING job.id"
)
_LEAVE = _END.format(fence="").replace(", said = '', meta = NULL", "")
_GO_ON = (
    f"UPDATE {JOB} job SET state = said.state, result = said.result,"
    " result_preview = said.preview, traceback = said.traceback,"
    " started = to_timestamp(said.started),"
    f" eta = CASE WHEN said.state = '{RETRY}' OR said.delay > 0"
    " THEN statement_timestamp() + make_interval(secs => said.delay) END,"
    " options = said.options, attempt = job.attempt + 1, open = NULL,"
    f" {_SAID_NO_MORE}"
    f" FROM {_GOING_ON} WHERE {_SAME_HAND} AND ({_may_enter(GOES_ON)}) RETURNING job.id"
)
_UPDATE = (
    f"UPDATE {JOB} job SET"
    f" state = CASE WHEN new.state = '{STARTED}' THEN new.state ELSE job.state END,"
    f" said = CASE WHEN new.state <> '{STARTED}' THEN new.state"
    f" WHEN job.said = '{ABORTED}' THEN job.said ELSE '' END,"
    " meta = new.meta, result_preview = new.preview"
    " FROM unnest(%b::text[], %b::int[], %b::int[], %b::text[], %b::bytea[], %b::text[])"
    " AS new (id, attempt, hand, state, meta, preview)"
    " WHERE job.id = new.id AND job.attempt = new.attempt AND job.hand = new.hand"
    f" AND {_PLAIN}job.state IN {IN_FLIGHT}"
)
_RELEASE = (
    f"UPDATE {JOB} job SET state = '{PENDING}', lost = said.lost, {_SAID_NO_MORE}"
    f" FROM {{fence}}{_RELEASED} WHERE {_SAME_HAND} AND {_PLAIN}job.state IN {IN_FLIGHT}"
    " RETURNING job.id, job.hand"
)
_CLAIM = (
    f"UPDATE {JOB} job SET state = '{RECEIVED}', hand = said.hand, open = 0,"
    " claimed = statement_timestamp(), runner = said.runner, worker = said.worker"
    f" FROM {{fence}}{_CLAIMED}"
    " WHERE job.id = said.id AND job.attempt = said.attempt AND job.hand = said.hand - 1"
    f" AND {_PLAIN}job.state IN {WAITING} RETURNING job.id, job.hand"
)


@cache
def _alone(ends: bool, fails: bool, releases: bool, claims: bool) -> str:
    """Return the statement that writes these parts of a batch, if the lease is at the epoch.

    The fence is locked when it is read: a rival who had it first leaves nothing to read. Nor is it
    read where others wait for a job that ends here, or are made when it fails: to lock it would be
    a commit for nothing.
    """
    parts = []
    told = ["SELECT 'led', '', 0 FROM fence"]
    unless = ""
    if ends:
        kin = f"(SELECT 1 FROM {EDGE} WHERE parent_id = ANY(%b::text[]) LIMIT 1)"
        if fails:
            kin += (
                f" UNION ALL (SELECT 1 FROM {JOB} WHERE id = ANY(%b::text[])"
                " AND length(errbacks) > 0 LIMIT 1)"
            )
        parts.append(f"kin AS MATERIALIZED ({kin})")
        told.append("SELECT 'kin', '', 0 FROM kin")
        unless = " AND NOT EXISTS (SELECT FROM kin)"
    parts.append(f"fence AS MATERIALIZED ({_STATEMENTS.fence}{unless} FOR SHARE)")
    if ends:
        parts.append(f"ended AS ({_END.format(fence='fence, ')})")
        told.append("SELECT 'ended', id, 0 FROM ended")
    if releases:
        parts.append(f"released AS ({_RELEASE.format(fence='fence, ')})")
        told.append("SELECT 'released', id, hand FROM released")
    if claims:
        parts.append(f"claimed AS ({_CLAIM.format(fence='fence, ')})")
        told.append("SELECT 'claimed', id, hand FROM claimed")
    return f"WITH {', '.join(parts)} {' UNION ALL '.join(told)}"


_SAID_JOBS = (
    "unnest({mark}::text[], {mark}::text[], {mark}::text[], {mark}::int[], {mark}::bytea[],"
    " {mark}::text[], {mark}::float8[], {mark}::float8[], {mark}::float8[], {mark}::bool[],"
    " {mark}::bool[], {mark}::bool[], {mark}::text[], {mark}::text[], {mark}::text[],"
    " {mark}::text[], {mark}::smallint[], {mark}::bytea[], {mark}::bytea[]) WITH ORDINALITY AS said"
    " (id, task, queue, priority, payload, preview, due, expires, delay, acks_late, ignore_result,"
    " graph, owner, root_id, parent_id, group_id, shape, options, errbacks, place)"
)
_SAID_EDGES = "unnest({mark}::text[], {mark}::text[], {mark}::int[], {mark}::bool[])"


def insert_plan(mark: str, *, unless_taken: str, told: str) -> str:
    """Return the statement that inserts jobs and edges; *mark* stands for a parameter.

    They are created at one time, the first parameter or now, but for microseconds that keep the
    order in which they were submitted, counted from the second parameter.
    """
    return (
        f"WITH moment AS MATERIALIZED (SELECT coalesce(to_timestamp({mark}::float8),"
        " clock_timestamp()) AS time),"
        f" job AS ({INSERT_JOB} SELECT said.id, task, queue, priority, payload, preview,"
        " to_timestamp(due), to_timestamp(expires), delay, acks_late, ignore_result, graph, owner,"
        " root_id, parent_id, group_id, shape, options, errbacks,"
        f" moment.time + ({mark} + said.place - 1) * interval '1 microsecond', {FRESH}"
        f" FROM moment, {_SAID_JOBS.format(mark=mark)}{unless_taken}),"
        f" edge AS ({INSERT_EDGE} SELECT * FROM {_SAID_EDGES.format(mark=mark)})"
        f" SELECT extract(epoch FROM time)::float8{told} FROM moment"
    )


_INSERT = insert_plan(
    "%b",
    unless_taken=" ON CONFLICT (id) DO NOTHING RETURNING id",
    told=", (SELECT array_agg(id) FROM job)",
)
_BEGIN_DELAYS = (
    f"UPDATE {JOB} job SET eta = statement_timestamp() + make_interval(secs => delay), delay = 0"
    " FROM unnest(%b::text[]) AS said (id) WHERE job.id = said.id"
    " RETURNING job.id, extract(epoch FROM eta)::float8"
)
_LOWER = (
    f"UPDATE {JOB} SET open = greatest(open - count, 0)"
    " FROM unnest(%b::text[], %b::int[]) AS said (child, count)"
    f" WHERE id = child AND {_PLAIN}state IN {WAITING} AND open > 0 RETURNING {WAITING_CALL}"
)
_SET_OPEN = (
    f"UPDATE {JOB} job SET open = said.open"
    " FROM unnest(%b::int[], %b::text[]) AS said (open, id) WHERE job.id = said.id"
)


JOB_FIELDS, EDGE_FIELDS = len(NewJob._fields), len(Edge._fields)


class PostgresSession:
    """A connection as `connect` makes it, with psycopg 3 as *driver*."""

    statements: Statements = _STATEMENTS

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        *,
        driver: ModuleType,
        not_ready: str,
    ) -> None:
        self._clock = ServerClock()
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._cursor: psycopg.Cursor[Any]
        self._plain_cursor: psycopg.Cursor[Any]
        self._driver = driver
        self._not_ready = not_ready

    @contextmanager
    def transaction(self, epoch: int | None) -> Iterator[None]:
        """Begin, lock the lease at *epoch* (None: do not), commit at the end; or roll back."""
        with self.reading():
            cursor = self._connected()
            try:
                if not self._begin(epoch):
                    raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
                yield
            except BaseException:
                self._roll_back()
                raise
            cursor.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell the database's errors in our words."""
        try:
            yield
        except self._driver.Error as error:
            raise self._told(error) from error
        except (UnicodeError, OverflowError) as error:
            raise LedgerRefused(f"the database refuses: {error}") from error

    def write_alone(self, epoch: int, batch: Batch) -> Written | None:
        """Write a batch of different jobs in one statement, unless others wait for one of them."""
        ends, releases, claims = batch.outcomes, batch.releases, batch.claims
        ids = {part[0] for part in (*ends, *releases, *claims)}
        if (
            batch.left
            or len(ids) < len(batch)
            or any(e.state in GOES_ON or e.leaves_state for e in ends)
        ):
            return None
        failed = [end.id for end in ends if end.state == FAILURE]
        with self.reading():
            rows = self.rows(
                _alone(bool(ends), bool(failed), bool(releases), bool(claims)),
                *([[end.id for end in ends]] if ends else ()),
                *([failed] if failed else ()),
                epoch,
                *_columns(ends)[:_ENDED_FIELDS],
                *_columns(releases),
                *_columns(claims),
            )
        moved = set(rows)
        if ("kin", "", 0) in moved:
            return None
        if not moved:
            raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
        return Written(
            outcomes=tuple(end for end in ends if ("ended", end.id, 0) in moved),
            failed=(),
            released=tuple((id, h) for id, _, h, _ in releases if ("released", id, h) in moved),
            claimed=tuple((id, h) for id, _, h, _, _ in claims if ("claimed", id, h) in moved),
            ready=(),
        )

    def rows(self, statement: str, *parameters: object) -> list[Any]:
        """Run *statement* and return its rows."""
        return self._connected().execute(statement, parameters).fetchall()

    def change(self, statement: str, *parameters: object) -> int:
        """Run *statement* and return how many rows it changed."""
        return self._connected().execute(statement, parameters).rowcount

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        cursor = self._connected().execute(_STATEMENTS.columns[table])
        return {column.name for column in cursor.description or ()}

    def among(self, values: Collection[str] | Collection[int]) -> object:
        """Return the parameter that the statements compare with "one of"."""
        return list(values)

    def now(self) -> float:
        """Return the server's time in seconds since the epoch, as it was last asked."""
        return self._clock.now()

    def look_at_clock(self) -> None:
        """Ask the server for its time."""
        ((seconds,),) = self.rows(SERVER_TIME)
        self._clock.hear(seconds)

    def at(self, seconds: float) -> object:
        """Return the parameter for the time that is *seconds* from now by the server's clock."""
        return float(seconds)

    def seconds(self, time: datetime) -> float:
        """Return a time that was read, which is aware, as seconds since the epoch."""
        return time.timestamp()

    def moment(self, seconds: float | None) -> object:
        """Return the parameter for a time in seconds since the epoch."""
        return seconds

    def insert(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> tuple[float, set[str]]:
        """Insert all in one statement; return when, and the ids that were free."""
        ((created, free),) = self.rows(
            _INSERT, None, 0, *plan_columns(jobs, JOB_FIELDS), *plan_columns(edges, EDGE_FIELDS)
        )
        return created, set(free or ())

    def end(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write outcomes, all in one statement unless a job has several or is tried again."""
        moved: dict[str, Outcome] = {}
        for round in _rounds(outcomes):
            part = [each for each in round if each.id not in moved]
            left = [each for each in part if each.leaves_state]
            ended = [each for each in part if each.state not in GOES_ON and each not in left]
            again = [_going_on(each) for each in part if each.state in GOES_ON]
            ids: set[str] = set()
            for statement, ends in ((_END.format(fence=""), ended), (_LEAVE, left)):
                if ends:
                    columns = _columns(ends)[:_ENDED_FIELDS]
                    ids.update(id for (id,) in self.rows(statement, *columns))
            if again:
                ids.update(id for (id,) in self.rows(_GO_ON, *_columns(again)))
            moved.update((each.id, each) for each in part if each.id in ids)
        return [moved.pop(each.id) for each in outcomes if moved.get(each.id) is each]

    def update(self, updates: Sequence[Update]) -> None:
        """Write what running calls say, in one statement unless a call says several things."""
        for round in _rounds(updates):
            self.change(
                _UPDATE, *_columns([(*each[:4], each[4] or None, each[5]) for each in round])
            )

    def release(self, releases: Sequence[Release]) -> list[tuple[str, int]]:
        """Write releases in one statement."""
        return self._moved(_RELEASE.format(fence=""), releases) if releases else []

    def claim(self, claims: Sequence[Claim]) -> list[tuple[str, int]]:
        """Write claims in one statement."""
        return self._moved(_CLAIM.format(fence=""), claims) if claims else []

    def lower(self, counts: Mapping[str, int]) -> list[Any]:
        """Take from the counts of waiting jobs; return their rows with the new counts."""
        return self.rows(_LOWER, list(counts), list(counts.values()))

    def set_open(self, counts: Sequence[tuple[int, str]]) -> None:
        """Write (count of open dependencies, id)."""
        if counts:
            opens, ids = zip(*counts, strict=True)
            self.change(_SET_OPEN, list(opens), list(ids))

    def begin_delays(self, delays: Mapping[str, float]) -> dict[str, float]:
        """Let jobs be due after their delay, from now; return when."""
        return dict(self.rows(_BEGIN_DELAYS, list(delays)))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Cursor[Any]:
        if self._connection is None:
            connection = self._connect()
            for setting in _SETTINGS:
                connection.execute(setting)
            self._connection = connection
            self._cursor = connection.cursor(binary=True)
            self._plain_cursor = connection.cursor()
        return self._cursor

    def _begin(self, epoch: int | None) -> bool:
        """Begin and lock the lease, in one round trip; tell whether it is at *epoch*."""
        cursor = self._plain_cursor
        if epoch is None:
            cursor.execute("BEGIN", prepare=False)
            return True
        cursor.execute(_BEGIN.format(epoch=int(epoch)), prepare=False)
        cursor.nextset()
        return cursor.fetchone() is not None

    def _roll_back(self) -> None:
        try:
            self._cursor.execute("ROLLBACK")
        except self._driver.Error:
            self.close()

    def _moved(
        self, statement: str, moves: Sequence[Release] | Sequence[Claim]
    ) -> list[tuple[str, int]]:
        moved: dict[str, tuple[str, int]] = {}
        for round in _rounds(moves):
            if part := [each for each in round if each.id not in moved]:
                rows = self.rows(statement, *_columns(part))
                moved.update((id, (id, hand)) for id, hand in rows)
        return [moved.pop(each.id) for each in moves if moved.get(each.id) == (each.id, each.hand)]

    def _told(self, error: Exception) -> LedgerError:
        code = getattr(error, "sqlstate", None) or ""
        if code[:2] == "40" or code == "55P03":  # deadlock; a lock was not given in time
            return LedgerBusy(f"another connection holds a lock: {error}")
        if code in ("42P01", "42703"):  # no such table, no such column
            return LedgerNotReady(f"{self._not_ready} ({error})")
        driver = self._driver
        if code[:2] in ("42", "54") or isinstance(
            error, (driver.DataError, driver.IntegrityError, driver.ProgrammingError)
        ):
            return LedgerRefused(f"the database refuses: {error}")
        self.close()
        return LedgerUnavailable(f"the database does not answer: {error}")


def _rounds(parts: Sequence[Any]) -> list[Sequence[Any]]:
    """Split what one UPDATE cannot say, several moves of one job, into rounds."""
    if len({part.id for part in parts}) == len(parts):
        return [parts] if parts else []
    rounds: list[list[Any]] = []
    count: dict[str, int] = {}
    for part in parts:
        place = count[part.id] = count.get(part.id, -1) + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(part)
    return list(rounds)


def _columns(parts: Sequence[Any]) -> list[list[Any]]:
    return [list(column) for column in zip(*parts, strict=True)]


def plan_columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Return the columns of rows that may be none."""
    return _columns(rows) or [[]] * width


def _going_on(outcome: Outcome) -> Any:
    again = unpack_again(outcome.again)
    if outcome.state == RETRY:
        return (*outcome[:8], again.delay, again.options)
    return (*outcome[:4], None, "", None, None, again.delay, again.options)
