"""Schedules by the sun. They need the ephem package, which is imported when one is made."""

from __future__ import annotations

import importlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.schedules.interval import BaseSchedule
from dask_facade.times import aware, elapsed

_RISING, _SETTING, _TRANSIT = "next_rising", "next_setting", "next_transit"
# event: ephem's search, degrees of the horizon, whether the centre of the sun counts
_EVENTS: dict[str, tuple[str, str, bool]] = {
    "dawn_astronomical": (_RISING, "-18", True),
    "dawn_nautical": (_RISING, "-12", True),
    "dawn_civil": (_RISING, "-6", True),
    "sunrise": (_RISING, "-0:34", False),
    "solar_noon": (_TRANSIT, "0", False),
    "sunset": (_SETTING, "-0:34", False),
    "dusk_civil": (_SETTING, "-6", True),
    "dusk_nautical": (_SETTING, "-12", True),
    "dusk_astronomical": (_SETTING, "-18", True),
}


class solar(BaseSchedule):
    """Due at what the sun does at a place: *event* at *lat* and *lon* in degrees.

    Events: dawn_astronomical, dawn_nautical, dawn_civil, sunrise, solar_noon, sunset, dusk_civil,
    dusk_nautical, dusk_astronomical. Days on which there is none, as near the poles, are skipped.
    Raises ImproperlyConfigured without ephem, ValueError for other events and places.
    """

    _all_events = frozenset(_EVENTS)
    _methods = {event: method for event, (method, _, _) in _EVENTS.items()}
    _horizons = {event: horizon for event, (_, horizon, _) in _EVENTS.items()}
    _use_center_l = {event: center for event, (_, _, center) in _EVENTS.items()}

    max_search_days = 366
    """Days without the event that are looked through before the search is put off."""

    def __init__(self, event: str, lat: float, lon: float, **kwargs: Any) -> None:
        if event not in _EVENTS:
            raise ValueError(f"event must be one of {', '.join(sorted(_EVENTS))}, not {event!r}")
        if not -90 <= lat <= 90:
            raise ValueError(f"lat must be between -90 and 90, not {lat}")
        if not -180 <= lon <= 180:
            raise ValueError(f"lon must be between -180 and 180, not {lon}")
        self.ephem = _ephem()
        self.event = event
        self.lat = lat
        self.lon = lon
        self.cal = self._observer()
        self.method = self._methods[event]
        self.use_center = self._use_center_l[event]
        super().__init__(**kwargs)

    def _observer(self) -> Any:
        observer = self.ephem.Observer()
        observer.lat, observer.lon = str(self.lat), str(self.lon)
        observer.elev = 0
        observer.pressure = 0
        observer.horizon = self._horizons[self.event]
        return observer

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return when it is due after a run, or when to search again."""
        last = self.maybe_make_aware(last_run_at).astimezone(UTC).replace(tzinfo=None)
        found: datetime = self._next_event(self.ephem.Date(last)).datetime()
        return aware(found)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return the time until it is due; negative where that is over."""
        return elapsed(self.maybe_make_aware(self.now()), self.due_after(last_run_at))

    def _next_event(self, start: Any) -> Any:
        """Return when the sun does it next, or the midnight at which the search was put off."""
        center = {"use_center": True} if self.use_center else {}
        sun = self.ephem.Sun()
        search = partial(getattr(self.cal, self.method), sun, **center)
        for _ in range(self.max_search_days):
            with suppress(self.ephem.CircumpolarError):
                return search(start=start)
            start = self.cal.next_antitransit(sun, start=start)
        return start

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.event, self.lat, self.lon)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, solar):
            return NotImplemented
        return (self.event, self.lat, self.lon) == (other.event, other.lat, other.lon)


def _ephem() -> Any:
    try:
        return importlib.import_module("ephem")
    except ImportError as error:
        raise ImproperlyConfigured(
            "schedules by the sun need the package ephem: pip install 'dask_facade[solar]' "
            "(what celery[solar] was)"
        ) from error
