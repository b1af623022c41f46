"""What a project uses of Celery, place by place, and what is to be said of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """What sort of thing a name is: the same word may be an option, a setting or a command."""

    IMPORT = "import"  # a dotted name, imported or reached through what was imported
    APP = "app"  # an attribute of the app, dotted: control.revoke
    CALL = "call"  # a task that is called, made a signature or tried again
    OPTION = "option"  # of a call: apply_async(priority=...)
    TASK = "task"  # of a task: @shared_task(rate_limit=...)
    RETRY = "retry"  # of self.retry
    SETTING = "setting"  # in its new name, lower case
    COMMAND = "command"  # of the program celery


class Verdict(enum.Enum):
    """What becomes of a use."""

    WORKS = "works"
    DIFFERS = "differs"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Use:
    """A place where something of Celery's is used. Line and column begin with 1."""

    line: int
    column: int
    what: str  # as people read it
    kind: Kind
    name: str  # as the knowledge has it


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a use, and how it differs or what to do instead, in one sentence."""

    verdict: Verdict
    says: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A use in a file, judged."""

    file: str
    use: Use
    judgement: Judgement
