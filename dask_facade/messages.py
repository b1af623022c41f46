"""What travels on the lines, as tuples that msgpack writes and reads.

They are named tuples, not dataclasses: tens of thousands pass each second, and making one from
what msgpack returns costs less than a sixth of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

VERSION = 3

CLIENT = "client"
RUNNER = "runner"
NODE = "node"  # it runs nothing, and answers when it is asked for

DUPLICATE = "duplicate"
SUPERSEDED = "superseded"
INVALID = "invalid"


class Shape:
    """How the results of the jobs a call depends on enter its arguments."""

    NOTHING = 0  # it has none, or takes none of them (an immutable signature)
    FIRST = 1  # one result, before the other positional arguments
    LIST = 2  # a list of results, before the other positional arguments; pulled by the runner
    # An error callback: id, exception (as dump_exception wrote it), traceback, task and payload of
    # the job that failed, which is its parent; texts in UTF-8.
    ERROR = 3
    REFERENCES = 8  # added to one of the others: results that stand somewhere in the arguments
    # Added to that of an error callback, until its job is made: not for a failure before it.
    OWN = 16


class NewJob(NamedTuple):
    """What a submitter writes of a job. The ledger adds when: its own clock says it."""

    id: str
    task: str  # of a graph: its name, for people
    queue: str
    priority: int
    payload: bytes  # arguments, as serialization.dump_arguments wrote them
    preview: str  # the arguments, for people
    due: float | None  # seconds since the epoch; None: at once
    expires: float | None  # seconds since the epoch; not begun by then, it is revoked
    delay: float  # seconds from when it waits for nothing else; 0: none
    acks_late: bool
    ignore_result: bool
    graph: bool  # it follows a Dask future
    owner: str  # primary key of the user whose it is; "" nobody's
    root_id: str
    parent_id: str | None
    group_id: str | None
    shape: int  # how the results of what it depends on enter its arguments: Shape
    options: bytes  # what only its runner reads, as serialization.dumps wrote it; b"": nothing
    errbacks: bytes  # the jobs that are made when it fails, as pack_jobs wrote them; b"": none


class Edge(NamedTuple):
    """A dependency: *child* begins when *parent* is SUCCESS, and fails when that fails."""

    parent_id: str
    child_id: str
    position: int  # among the child's inputs; from 0, references behind the others
    takes_result: bool


BEHIND = 2**30
"""The position of an input that a body was given later: behind all others, in the order told."""


class Call(NamedTuple):
    """One attempt of a job that is ready to run: what a runner needs to run it."""

    id: str
    task: str
    attempt: int  # from 1; a retry is the next
    hand: int  # how often it has been claimed; on its way to a runner, the number of its own claim
    queue: str
    priority: int  # larger goes first
    created: float  # seconds since the epoch; orders calls of one priority
    due: float | None  # seconds since the epoch; None: at once
    acks_late: bool
    ignore_result: bool
    lost: int  # how often a worker died with it
    root_id: str
    parent_id: str | None
    group_id: str | None
    shape: int  # of Shape
    payload: bytes  # arguments, as serialization.dump_arguments wrote them
    expires: float | None  # seconds since the epoch
    graph: bool  # it follows a Dask future; no runner gets it
    options: bytes  # as in NewJob
    near: str  # address of the worker that holds the largest of its inputs; "" none does
    inputs: Sequence[bytes]  # with Shape.FIRST: that one result; with Shape.ERROR: see there
    marked: bool = False  # its runner says when it begins


class Outcome(NamedTuple):
    """How one attempt ended."""

    id: str
    attempt: int
    hand: int
    state: str
    result: bytes | None  # the value, or the exception, as serialization wrote it
    preview: str  # for people
    traceback: str | None
    started: float | None  # seconds since the epoch, on the worker's clock; None: it never began
    finished: float
    runtime: float  # seconds, monotonic
    key: str = ""  # the result is also Dask data, named by Variable("job:<id>"); "" it is not
    size: int = 0  # bytes of the result, where it has a key
    again: bytes = b""  # with RETRY and PENDING: how it goes on, as pack_again wrote it
    cut: bool = False  # what waits for it is revoked: the task ended its chain

    @property
    def leaves_state(self) -> bool:
        """Whether readers go on seeing the state that the task itself has set (Ignore)."""
        return self.cut and self.result is None and not self.key


class Again(NamedTuple):
    """How a job goes on that has not ended: tried again (RETRY), or replaced (PENDING)."""

    delay: float  # seconds from when this is written
    options: bytes  # as in NewJob
    becomes: Sequence[NewJob]  # what the row says from now on, under its own id; or nothing
    jobs: Sequence[NewJob]  # inserted beside it
    edges: Sequence[Edge]


class Held(NamedTuple):
    """A call that a runner has in hand when it dials again."""

    id: str
    attempt: int
    hand: int
    begun: bool


class Rate(NamedTuple):
    """How often calls of a task may begin, on all workers together."""

    task: str
    per_second: float  # 0: as often as there are runners


class Hello(NamedTuple):
    """The first message of who dials."""

    version: int
    role: str
    identity: str
    token: str
    instance: str = ""  # of a runner: made when it starts, so that one started twice is known
    worker: str = ""  # of a runner: its Dask worker's address
    queues: Sequence[str] = ()  # what a runner serves; none named: every queue
    held: Sequence[Held] = ()
    node: str = ""  # of a runner: the name of its process, as its calls know it
    pid: int = 0  # of that process
    rates: Sequence[Rate] = ()  # of the tasks that it knows and that have one


class Welcome(NamedTuple):
    """The answer to Hello."""

    version: int
    epoch: int
    lease: float  # seconds for which hearing the dispatcher allows a runner to begin calls


class Refusal(NamedTuple):
    """The other answer to Hello; the line ends after it."""

    reason: str


class Beat(NamedTuple):
    """The leader lives."""


class Offer(NamedTuple):
    """Calls whose rows are committed and that wait for nothing."""

    calls: Sequence[Call]


class Wait(NamedTuple):
    """Tell me of the ends of these jobs."""

    ids: Sequence[str]


class Unwait(NamedTuple):
    """Do not tell me of these jobs any more."""

    ids: Sequence[str]


class Unsure(NamedTuple):
    """Jobs of a Wait that are not in flight here: the ledger tells what they are."""

    ids: Sequence[str]


class Push(NamedTuple):
    """Committed ends of jobs that the client waits for."""

    outcomes: Sequence[Outcome]


class Hand(NamedTuple):
    """Calls for a runner; their claims are committed."""

    calls: Sequence[Call]


class Recall(NamedTuple):
    """Give back what you have not begun."""


class Returned(NamedTuple):
    """(id, hand) of calls that were not begun and never will be by this runner."""

    calls: Sequence[tuple[str, int]]


class Begun(NamedTuple):
    """This call is about to begin."""

    id: str
    hand: int


class Report(NamedTuple):
    """Ends of calls, kept by the runner until Ack names them."""

    outcomes: Sequence[Outcome]


class Ack(NamedTuple):
    """(id, hand) of outcomes that the ledger has taken or refused for good."""

    calls: Sequence[tuple[str, int]]


class Pull(NamedTuple):
    """Send the results that this call takes as a list, from *start* on."""

    id: str
    start: int


class Inputs(NamedTuple):
    """Results in the order of their positions; those after them want another Pull."""

    id: str
    start: int
    results: Sequence[bytes]
    total: int


class Leave(NamedTuple):
    """End when you have nothing in hand."""


class Spawn(NamedTuple):
    """Jobs that a running call submits; they are written if it still is at this attempt."""

    number: int  # of a runner, from 1: the answer has it
    again: bool  # the line was lost meanwhile: it may have been written
    parent_id: str
    attempt: int
    hand: int
    jobs: Sequence[NewJob]
    edges: Sequence[Edge]


class Spawned(NamedTuple):
    """The answer to Spawn."""

    number: int
    created: float  # seconds since the epoch
    refusal: str  # "" it is committed; DUPLICATE, SUPERSEDED or INVALID: nothing is
    reason: str  # the id that is taken, or words


class Update(NamedTuple):
    """What a running call says of its state; the last one counts."""

    id: str
    attempt: int
    hand: int
    state: str  # STARTED, or one of the task's own
    meta: bytes  # as serialization.dumps wrote it
    preview: str


class Kill(NamedTuple):
    """End this call at once, as REVOKED, whatever it is doing."""

    id: str
    hand: int


class Abort(NamedTuple):
    """Somebody asks the task of this call to end it, when it looks."""

    id: str
    hand: int


class Nudge(NamedTuple):
    """Requests were written: look at once."""


class Look(NamedTuple):
    """Push how these jobs ended, as far as the ledger knows; and Wait for the others."""

    ids: Sequence[str]


class Ask(NamedTuple):
    """A command for workers, or a question to them: from a client, then to a runner of each."""

    number: int  # of who asks, from 1: the answers have it
    command: str
    arguments: bytes  # by name, as JSON
    nodes: Sequence[str]  # for these workers; none named: for all
    pattern: str  # as a shell has it, of the names of workers; "" none


class Asked(NamedTuple):
    """The names of all workers that a question has gone to; each sends one Answer."""

    number: int
    nodes: Sequence[str]


class Answer(NamedTuple):
    """What a worker says to an Ask."""

    number: int
    node: str
    said: bytes  # as JSON


class Serve(NamedTuple):
    """A runner takes calls of these queues from now on; none named: of every queue."""

    queues: Sequence[str]


Message = (
    Hello
    | Welcome
    | Refusal
    | Beat
    | Offer
    | Wait
    | Unwait
    | Unsure
    | Push
    | Hand
    | Recall
    | Returned
    | Begun
    | Report
    | Ack
    | Pull
    | Inputs
    | Leave
    | Spawn
    | Spawned
    | Update
    | Kill
    | Nudge
    | Look
    | Ask
    | Asked
    | Answer
    | Serve
    | Abort
)

KINDS: tuple[type[Message], ...] = (
    Hello,
    Welcome,
    Refusal,
    Beat,
    Offer,
    Wait,
    Unwait,
    Unsure,
    Push,
    Hand,
    Recall,
    Returned,
    Begun,
    Report,
    Ack,
    Pull,
    Inputs,
    Leave,
    Spawn,
    Spawned,
    Update,
    Kill,
    Nudge,
    Look,
    Ask,
    Asked,
    Answer,
    Serve,
    Abort,
)
