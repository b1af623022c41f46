"""``settings.DASK_FACADE``: one dict, checked once."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings as django_settings

from dask_facade.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``settings.DASK_FACADE`` may say, with what holds if it does not. Times in seconds."""

    LEDGER_DATABASE: str = "default"  # the database of the jobs' table, by its alias
    SCHEDULER_ADDRESS: str | None = None  # of a Dask scheduler to join; None: a local cluster
    WORKERS: int = 2  # processes of the local cluster
    CLUSTER: Mapping[str, Any] | None = None  # another kind: {"class": ..., "kwargs", "adapt"}
    LINGER: float = 60.0  # that a runner may idle on a cluster that adapts
    DISPATCHER_HOST: str = "127.0.0.1"  # where the dispatcher listens
    DISPATCHER_PORT: int = 0  # 0: any free port; the ledger tells the others which
    ADVERTISE_ADDRESS: str | None = None  # "host:port" as others reach it, if that differs
    ALLOW_INSECURE_CLUSTER: bool = False  # addresses beyond this machine without TLS
    LEASE: float = 5.0  # after which a silent leader is followed by another dispatcher
    SEND_GRACE: float = 1.0  # after which the dispatcher looks for a row without a hint
    HIGH_WATER: int = 20_000  # calls of a queue in the dispatcher, large ones once per 4 KiB
    MAX_LOST: int = 3  # workers that may die with one acks_late job
    RESULT_INLINE_LIMIT: int = 64 * 2**10  # bytes; larger results are also kept on their worker
    RESULT_STORE_LIMIT: int = 16 * 2**20  # bytes; larger results are on their worker alone

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings that *values* say; raise ImproperlyConfigured naming the bad one."""
        known = {field.name: field for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise ImproperlyConfigured(
                    f"DASK_FACADE has no setting {name!r}{meant(str(name), known)}"
                )
            default = known[name].default
            accepted = _accepted(name, default)
            fits = isinstance(value, accepted) and not (
                isinstance(value, bool) and not isinstance(default, bool)
            )
            if not fits:
                raise ImproperlyConfigured(
                    f"DASK_FACADE[{name!r}] is {value!r}, which is no {_kind(name, default)}"
                )
            if name in _RULES and not _RULES[name][0](value):
                raise ImproperlyConfigured(f"DASK_FACADE[{name!r}] must be {_RULES[name][1]}")
        read = cls(**values)
        if read.CLUSTER is not None and read.SCHEDULER_ADDRESS is not None:
            raise ImproperlyConfigured(
                "DASK_FACADE has both 'CLUSTER', which is started, and 'SCHEDULER_ADDRESS', which "
                "is joined: leave one of them out"
            )
        if read.RESULT_INLINE_LIMIT > read.RESULT_STORE_LIMIT:
            raise ImproperlyConfigured(
                f"DASK_FACADE['RESULT_INLINE_LIMIT'] is {read.RESULT_INLINE_LIMIT:,}: it must be "
                f"at most RESULT_STORE_LIMIT, which is {read.RESULT_STORE_LIMIT:,}"
            )
        return read


def get_settings() -> Settings:
    """Return the site's settings."""
    values = getattr(django_settings, "DASK_FACADE", {})
    if not isinstance(values, Mapping):
        raise ImproperlyConfigured(f"DASK_FACADE is {values!r}, which is no dict")
    return Settings.read(values)


def ledger_database() -> str:
    """Return the alias of the ledger's database, also where other settings are wrong."""
    values = getattr(django_settings, "DASK_FACADE", {})
    alias = values.get("LEDGER_DATABASE") if isinstance(values, Mapping) else None
    return alias if isinstance(alias, str) else Settings().LEDGER_DATABASE


def meant(name: str, known: Iterable[str]) -> str:
    """Return what to say of a *name* that is none of those that are *known*."""
    names = sorted(known)
    by_upper = {each.upper(): each for each in names}
    close = difflib.get_close_matches(name.upper(), by_upper, n=1)
    return f": did you mean {by_upper[close[0]]!r}?" if close else f"; it has {', '.join(names)}"


_ADDRESS = re.compile(r".+:\d+")
_RULES: Mapping[str, tuple[Callable[[Any], object], str]] = {
    "WORKERS": (lambda value: value >= 1, "1 or more"),
    "DISPATCHER_PORT": (lambda value: 0 <= value <= 65_535, "a port, or 0 for any free one"),
    "ADVERTISE_ADDRESS": (
        lambda value: value is None or _ADDRESS.fullmatch(value),
        'as in "host:8700"',
    ),
    "CLUSTER": (
        lambda value: value is None or _is_cluster(value),
        '{"class": "a.dotted.Path"}, with "kwargs" and "adapt" if need be, which are dicts',
    ),
    "LINGER": (lambda value: 0 <= value < math.inf, "0 seconds or more"),
    "LEASE": (lambda value: 5 <= value < math.inf, "5 seconds or more"),
    "SEND_GRACE": (lambda value: 0 <= value < math.inf, "0 seconds or more"),
    "HIGH_WATER": (lambda value: value >= 1, "1 or more"),
    "MAX_LOST": (lambda value: value >= 1, "1 or more"),
    "RESULT_INLINE_LIMIT": (lambda value: value >= 0, "0 or more"),
    "RESULT_STORE_LIMIT": (lambda value: 1 <= value <= 32 * 2**20, "between 1 and 32 MiB"),
}
"""What a value must be beside its type, and how that is said."""


def _is_cluster(value: Mapping[str, Any]) -> bool:
    """Tell whether *value* may be CLUSTER; whether there is such a class is another question."""
    match value:
        case {"class": str(), **others} if others.keys() <= {"kwargs", "adapt"}:
            return all(
                isinstance(each, Mapping) and all(isinstance(name, str) for name in each)
                for each in others.values()
            )
    return False


def _accepted(name: str, default: Any) -> tuple[type, ...]:
    if name == "CLUSTER":
        return (Mapping, type(None))
    if default is None:
        return (str, type(None))
    return (int, float) if isinstance(default, float) else (type(default),)


def _kind(name: str, default: Any) -> str:
    if name == "CLUSTER":
        return "dict"
    return "string" if default is None else type(default).__name__
