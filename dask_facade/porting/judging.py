"""What becomes of a use: what the knowledge says, else whether the name is here."""

from __future__ import annotations

from collections.abc import Iterator

from dask_facade.config import DEFAULTS
from dask_facade.porting.counterparts import attributes_of, counterpart, home_of
from dask_facade.porting.knowledge import INERT, KNOWLEDGE, LACKING
from dask_facade.porting.uses import Judgement, Kind, Verdict

WORKS = Judgement(Verdict.WORKS)
_CLASSES = {
    "": ("dask_facade.app", "DaskFacade"),
    "control": ("dask_facade.control", "Control"),
    "control.inspect": ("dask_facade.inspecting", "Inspect"),
}
"""The classes of the app, and of what it has, by the attributes that lead to them."""


def judge(kind: Kind, name: str) -> Judgement:
    """Return what becomes of a name of this kind."""
    match kind:
        case Kind.IMPORT:
            return _judge_import(name)
        case Kind.APP:
            found = _nearest(kind, name)
            return found or (WORKS if _is_of_app(name) else Judgement(Verdict.REFUSED, LACKING))
        case Kind.SETTING:
            unsaid = WORKS if name in DEFAULTS else Judgement(Verdict.DIFFERS, INERT)
        case _:
            unsaid = WORKS
    return KNOWLEDGE.get((kind, name), unsaid)


def _judge_import(name: str) -> Judgement:
    """Go by what is here first: the knowledge tells what to do without, and what differs."""
    found = counterpart(name)
    said = KNOWLEDGE.get((Kind.IMPORT, found.celery if found else name))
    if found is not None:
        return said if said and said.verdict is not Verdict.REFUSED else WORKS
    if said is None and home_of(name.rpartition(".")[0]) is None:
        said = _nearest(Kind.IMPORT, name)
    return said or Judgement(Verdict.REFUSED, LACKING)


def _nearest(kind: Kind, name: str) -> Judgement | None:
    """Return what is known of a name, or else of the nearest that it is in."""
    for each in _with_parents(name):
        if (kind, each) in KNOWLEDGE:
            return KNOWLEDGE[kind, each]
    return None


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


def _is_of_app(name: str) -> bool:
    if name in attributes_of("dask_facade.current", "Proxy"):  # as current_app has it
        return True
    parts = name.split(".")
    for length in range(min(len(parts), 3)):
        of = _CLASSES.get(".".join(parts[:length]))
        if of is not None and parts[length] not in attributes_of(*of):
            return False
    return True
