"""What every schedule has, and the one that comes due again and again after a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, NamedTuple

from dask_facade import current
from dask_facade.times import after, aware, boundary_after, elapsed, humanize_seconds


class schedstate(NamedTuple):
    """Whether a schedule is due, and in how many seconds it is worth asking again."""

    is_due: bool
    next: float


class BaseSchedule:
    """A schedule, asked with the time of the last run. Times without a zone are of UTC.

    *nowfun* tells the time; unsaid, the app does. Without *app* it is the current one.
    """

    def __init__(self, nowfun: Callable[[], datetime] | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self._app = app

    @property
    def app(self) -> Any:
        """The app whose settings hold."""
        return current.app() if self._app is None else self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @cached_property
    def tz(self) -> Any:
        """The time zone that it is meant in: that of the app."""
        return self.app.timezone

    @cached_property
    def utc_enabled(self) -> bool:
        """Whether the app keeps its times in UTC."""
        return bool(self.app.conf.enable_utc)

    def now(self) -> datetime:
        """Return the time."""
        now: datetime = (self.nowfun or self.app.now)()
        return now

    def maybe_make_aware(self, dt: datetime, naive_as_utc: bool = True) -> datetime:
        """Return *dt* with a time zone."""
        return aware(dt, self.tz, naive_as_utc=naive_as_utc)

    def to_local(self, dt: datetime) -> datetime:
        """Return *dt* as it is told where the app does not keep its times in UTC."""
        return dt if self.utc_enabled else aware(dt).astimezone()

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return the time until it is due; negative where that is over."""
        raise NotImplementedError(f"{type(self).__name__} must say how long it is until it is due")

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return when it is due after a run: the same whenever it is asked, to the second."""
        due = self.maybe_make_aware(self.now()) + self.remaining_estimate(last_run_at)
        return (due + timedelta(milliseconds=500)).replace(microsecond=0)

    def caught_up(self, last_run_at: datetime) -> datetime:
        """Return what counts as its last run once it runs now, for all that it missed."""
        return self.maybe_make_aware(self.now())

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether it is due now, and when to ask again."""
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        return schedstate(True, max(self.remaining_estimate(self.now()).total_seconds(), 0.0))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented


class schedule(BaseSchedule):
    """Due *run_every* (seconds, or a timedelta) after the last run.

    A *relative* one is due at a round time: an interval of days at midnight, one of hours at the
    full hour, one of minutes at the full minute.
    """

    relative: bool = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        if not isinstance(run_every, timedelta):
            run_every = timedelta(seconds=run_every or 0)
        self.run_every = run_every
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    @property
    def seconds(self) -> float:
        """The interval in seconds, never negative."""
        return max(self.run_every.total_seconds(), 0.0)

    @property
    def human_seconds(self) -> str:
        """The interval for people to read."""
        return humanize_seconds(self.seconds)

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return when it is due after a run."""
        last = self.maybe_make_aware(last_run_at)
        if self.relative:
            return boundary_after(last, self.run_every)
        return after(last, self.run_every)

    def caught_up(self, last_run_at: datetime) -> datetime:
        """Return the last of the times at which it is due by now; so it does not drift."""
        now = self.maybe_make_aware(self.now())
        if self.relative or not self.seconds:
            return now
        due = self.due_after(last_run_at)
        missed = max(elapsed(due, now) // self.run_every, 0)
        return after(due, missed * self.run_every)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return the time until it is due; negative where that is over."""
        return elapsed(self.maybe_make_aware(self.now()), self.due_after(last_run_at))

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether it is due now, and when to ask again."""
        last = self.maybe_make_aware(last_run_at)
        left = self.remaining_estimate(last).total_seconds()
        if left > 0:
            return schedstate(False, left)
        return schedstate(True, self._from_now(last.tzinfo) if self.relative else self.seconds)

    def _from_now(self, zone: tzinfo | None) -> float:
        """Return the seconds until the next round time; the interval where there is none."""
        now = self.maybe_make_aware(self.now()).astimezone(zone)
        left = self.remaining_estimate(now).total_seconds()
        return left if left > 0 else self.seconds

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        return self.run_every == (other.run_every if isinstance(other, schedule) else other)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun)


def maybe_schedule(s: Any, relative: bool = False, app: Any = None) -> Any:
    """Return the schedule that a number of seconds or a timedelta means; others get the app."""
    if s is None:
        return None
    if isinstance(s, int | float | timedelta):
        return schedule(s, relative, app=app)
    s.app = app
    return s
