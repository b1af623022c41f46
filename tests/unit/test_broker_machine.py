"""The invariants of DESIGN.md that are the broker's, under whatever may happen around it.

The broker stands between the real ledger in memory, which commits when it likes, and runners that
follow the protocol of `worker.runner` and die, lose their lines and dial again at any point. The
numbers in brackets are those of the invariants.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence, Sized
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dask_facade.broker import Broker
from dask_facade.events import (
    Drain,
    Found,
    LineEnded,
    Paused,
    Placed,
    Rules,
    RunnerUp,
    Tick,
    Unrevoke,
    WorkerGone,
)
from dask_facade.jobs import Written
from dask_facade.messages import (
    Ack,
    Begun,
    Call,
    Edge,
    Hand,
    Held,
    Kill,
    Leave,
    Look,
    Message,
    NewJob,
    Offer,
    Outcome,
    Push,
    Recall,
    Report,
    Returned,
    Shape,
    Spawn,
    Spawned,
    Unsure,
    Unwait,
    Wait,
)
from dask_facade.states import FAILURE, PENDING, READY_STATES, RETRY, REVOKED, SUCCESS
from tests.unit.stage import EPOCH, Stage, end_of, new_job

LEASE = 5.0  # seconds for which hearing the dispatcher allows a runner to begin calls
WORKER_GONE = 60.0
CLIENTS = ("client", "another client")
QUEUES = ("celery", "mail")
MOST_RUNNERS = 4
MOST_JOBS = 40


@dataclass(eq=False)
class Line:
    """What is on its way between a runner and the dispatcher."""

    up: deque[Message] = field(default_factory=deque)
    down: deque[Message] = field(default_factory=deque)
    end: bool | None = None  # once it has ended: whether the dispatcher will see it whole

    def cut(self, arriving: int) -> None:
        """End it in the middle: only the first messages upwards arrive."""
        while len(self.up) > arriving:
            self.up.pop()
        self.down.clear()
        self.end = False


@dataclass(eq=False)
class Runner:
    """What `worker.runner.Runner` has in its memory."""

    id: str
    worker: str
    queues: Sequence[str]
    alive: bool = True
    ending: bool = False  # it has a reason to end
    heard: float = 0.0
    line: Line | None = None
    dialled: Line | None = None  # greeted by the dispatcher; the welcome is on its way
    kept: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    killed: bool = False  # the call that is running is to end
    running: Call | None = None
    spawning: Spawn | None = None  # its call waits for the answer
    unsaid: Outcome | None = None  # kept, but not yet reported
    window: deque[Call] = field(default_factory=deque)

    def say(self, *messages: Message) -> bool:
        if self.line is None:
            return False
        if self.line.end is None:
            self.line.up.extend(messages)
        return True  # an end that is not noticed yet swallows them

    def next_call(self, now: float) -> Call | None:
        if not self.window or self.line is None or self.ending or now - self.heard > LEASE:
            return None
        return self.window.popleft()

    def receive(self, message: Message, now: float) -> None:
        self.heard = now
        match message:
            case Hand(calls):
                self.window.extend(calls)
            case Ack(calls):
                for id, hand in calls:
                    self.kept.pop((id, hand), None)
            case Recall():
                self.give_back()
            case Kill(id, hand):
                if self.running is not None and (self.running.id, self.running.hand) == (id, hand):
                    self.killed = True
            case Spawned(number) if self.spawning is not None and self.spawning.number == number:
                self.spawning = None
            case Leave():
                self.ending = True

    def give_back(self) -> None:
        returned = [(call.id, call.hand) for call in self.window]
        self.window.clear()
        self.say(Returned(returned))

    def held(self) -> list[Held]:
        held = [Held(each.id, each.attempt, each.hand, begun=True) for each in self.kept.values()]
        if self.running is not None:
            held.append(Held(self.running.id, self.running.attempt, self.running.hand, begun=True))
        return held

    @property
    def idle(self) -> bool:
        return self.running is None and self.unsaid is None


class Theatre(Stage):
    """A stage whose lines lead to runners, and that checks what the broker says as it says it."""

    def __init__(self) -> None:
        super().__init__(Rules(high_water=12))
        self.asked: dict[str, bool] = {}  # revoked job -> whether it is to be terminated
        self.begun: Counter[tuple[str, int]] = Counter()  # (job, attempt) -> how often
        self.ended: dict[str, str] = {}  # job -> its terminal state, as it was first committed
        self.given_up: set[tuple[str, int]] = set()  # hands that count as lost
        self.hands: Counter[str] = Counter()  # job -> the number of its last hand
        self.jobs: dict[str, NewJob] = {}
        self.edges: list[Edge] = []
        self.leaving: set[Line] = set()  # told to leave, or echoed that they do
        self.lines: dict[str, Line] = {}  # as the dispatcher has them
        self.lost: Counter[str] = Counter()
        self.waits: dict[tuple[str, str], bool] = {}  # (client, job) -> whether told to look

    def write(self, batches: int | None = None) -> None:
        for batch in self.unwritten[:batches]:
            for release in batch.releases:
                if release.lost > self.lost[release.id]:
                    self.lost[release.id] = release.lost
                    self.given_up.add((release.id, release.hand))
        super().write(batches)
        told = self.untold[-1]
        for (_, spawn), answer in told.spawned:
            if not answer.refusal:
                self.jobs.update((job.id, job) for job in spawn.jobs)
        self.note(told.written)

    def revoke(self, *ids: str, terminate: bool = False) -> set[str]:
        unknown = super().revoke(*ids, terminate=terminate)
        self.note(self.untold[-1].written)
        return unknown

    def take_up(self, grace: float = 1.0, horizon: float = 2.0, limit: int = 1_000) -> None:
        super().take_up(grace, horizon, limit)
        self.note(self.taken)

    def note(self, written: Written) -> None:
        """Keep in mind which jobs have ended."""
        for outcome in (*written.outcomes, *written.failed):
            if outcome.state in READY_STATES:
                assert outcome.id not in self.ended, "[3] a job ends once"
                self.ended[outcome.id] = outcome.state
        for id, state in self.ended.items():
            assert self.row(id).state == state, "[3] nothing leaves a terminal state"

    def send(self, peer: str, message: Message) -> None:
        match message:
            case Hand(calls):
                self._check_hand(peer, calls)
            case Ack(calls):
                held = {each.call.id: each.call.hand for each in self.desk.in_flight()}
                for id, hand in calls:
                    assert held.get(id) != hand, "[6] an outcome is kept until it is committed"
            case Push(outcomes):
                for outcome in outcomes:
                    assert self.row(outcome.id).state == outcome.state, "told of what is committed"
                    assert outcome.state in READY_STATES, "told of ends only"
                    assert (peer, outcome.id) in self.waits, "told once, and only who waits"
                    del self.waits[peer, outcome.id]
            case Unsure(ids):
                for id in ids:
                    assert (peer, id) in self.waits
                    self.waits[peer, id] = True
        line = self.lines.get(peer)
        if line is not None and line.end is None:
            line.down.append(message)
            if isinstance(message, Leave):
                self.leaving.add(line)

    def _check_hand(self, peer: str, calls: Sequence[Call]) -> None:
        in_flight = {each.call.id: each for each in self.desk.in_flight()}
        assert peer in self.lines, "nothing goes to who has no line"
        assert self.lines[peer] not in self.leaving, "nothing goes to who leaves"
        for call in calls:
            assert call.id not in self.ended, "[4] a finished job is not handed out"
            assert call.id in in_flight, "[5] a call is handed out after its claim"
            claim = in_flight[call.id]
            assert (claim.call.attempt, claim.call.hand) == (call.attempt, call.hand), "[5]"
            assert claim.runner == peer, "[5] it goes to whom it was claimed for"
            assert call.hand > self.hands[call.id], "[5] no hand is handed twice"
            assert call.id not in self.asked, "nothing is handed out that was revoked"
            assert call.queue not in self.desk.paused(), "nothing is handed out while it is paused"
            self.hands[call.id] = call.hand
            for edge in self.edges:
                if edge.child_id == call.id:
                    assert self.ended.get(edge.parent_id) == SUCCESS, "[8] parents go first"

    def begin(self, call: Call) -> None:
        """Count a call as running from now on."""
        self.begun[call.id, call.attempt] += 1
        most = self.broker.rules.max_lost if call.acks_late else 1
        assert self.begun[call.id, call.attempt] <= most, "[5] at most so often for each attempt"
        if call.id in self.ended and (call.id, call.hand) not in self.given_up:
            # Only what was decided to be lost while its runner lived may still begin.
            lost = REVOKED if call.id in self.asked else FAILURE
            assert self.ended[call.id] == lost, "[4] a finished job never runs again"


def left_in(broker: Broker) -> dict[str, int]:
    """Return what a broker still knows of jobs, by where it does."""
    roster, runners = broker._roster, broker._fleet.runners.values()
    places: dict[str, Sized] = {
        "entries": roster.entries,
        "expiring": roster.ready._expiring,
        "gone": [runner.id for runner in runners if runner.worker_gone],
        "held": [id for runner in runners for id in runner.held],
        "owed": broker._settling.owed,
        "ready": roster.ready,
        "revoked": roster.revoked,
        "told": [key for runner in runners for key in runner.told],
        "waited for": roster.waiters,
        "who wait": roster.waiters._ids,
    }
    return {name: len(place) for name, place in places.items() if place}


def _end_line(runner: Runner, whole: bool, arriving: int) -> None:
    for line in (runner.line, runner.dialled):
        if line is not None and line.end is None:
            if whole:
                line.end = True
                line.down.clear()
            else:
                line.cut(arriving)


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = Theatre()
        self.hints: list[Sequence[Call]] = []
        self.late: list[str] = []  # what was revoked when it had ended
        self.made = 0
        self.runners: list[Runner] = []

    # Submitters

    def _new_id(self) -> str:
        self.made += 1
        return f"job {self.made}"

    def _submit(self, jobs: Sequence[NewJob], edges: Sequence[Edge], hinted: bool) -> None:
        stage = self.stage
        if len(stage.jobs) + len(jobs) > MOST_JOBS:
            return
        stage.jobs.update((job.id, job) for job in jobs)
        stage.edges.extend(edges)
        calls = stage.submit(*jobs, edges=edges)
        self.hints.append(calls)
        if hinted:
            stage.hear("submitter", Offer(calls))

    @rule(
        number=st.integers(1, 6),
        acks_late=st.booleans(),
        due=st.sampled_from([None, None, 0.5]),
        expires=st.sampled_from([None, None, None, 0.2, 2.0]),
        priority=st.integers(0, 1),
        queue=st.sampled_from(QUEUES),
        hinted=st.booleans(),
    )
    def submit_calls(
        self,
        number: int,
        acks_late: bool,
        due: float | None,
        expires: float | None,
        priority: int,
        queue: str,
        hinted: bool,
    ) -> None:
        now = self.stage.now
        jobs = [
            new_job(
                self._new_id(),
                queue=queue,
                priority=priority,
                due=None if due is None else now + due,
                expires=None if expires is None else now + expires,
                acks_late=acks_late,
            )
            for each in range(number)
        ]
        self._submit(jobs, (), hinted)

    @rule(width=st.integers(1, 3), acks_late=st.booleans(), hinted=st.booleans())
    def submit_diamond(self, width: int, acks_late: bool, hinted: bool) -> None:
        """One, then some beside each other, then one that takes the list of theirs, then one."""
        ids = [self._new_id() for _ in range(width + 3)]
        top, *middle, body, last = ids
        edges = [Edge(top, each, 0, takes_result=True) for each in middle]
        edges += [Edge(each, body, at, takes_result=True) for at, each in enumerate(middle)]
        edges += [Edge(body, last, 0, takes_result=False)]
        shapes = {body: Shape.LIST, top: Shape.NOTHING, last: Shape.NOTHING}
        jobs = [new_job(id, acks_late=acks_late, shape=shapes.get(id, Shape.FIRST)) for id in ids]
        self._submit(jobs, edges, hinted)

    @precondition(lambda self: self.hints)
    @rule(which=st.integers(0, 1_000))
    def hint_late_or_again(self, which: int) -> None:
        self.stage.hear("submitter", Offer(self.hints[which % len(self.hints)]))

    # Clients

    @rule(client=st.sampled_from(CLIENTS), first=st.integers(0, MOST_JOBS))
    def wait(self, client: str, first: int) -> None:
        names = list(self.stage.jobs)
        chosen = names[first % len(names) :]
        for id in chosen:
            self.stage.waits[client, id] = False
        self.stage.hear(client, Wait(chosen))

    @rule(client=st.sampled_from(CLIENTS), first=st.integers(0, MOST_JOBS))
    def look(self, client: str, first: int) -> None:
        names = list(self.stage.jobs)
        chosen = names[first % len(names) :]
        for id in chosen:
            self.stage.waits[client, id] = False
        self.stage.hear(client, Look(chosen))

    @precondition(lambda self: self.stage.lookups)
    @rule()
    def look_up(self) -> None:
        self.stage.look_up()

    @rule(which=st.integers(0, MOST_JOBS + 5), terminate=st.booleans())
    def revoke(self, which: int, terminate: bool) -> None:
        """Somebody revokes a job, which may not exist yet, or have ended."""
        self._revoke([f"job {1 + which % (self.made + 3)}"], terminate)

    def _revoke(self, ids: Sequence[str], terminate: bool) -> None:
        stage = self.stage
        self.late += [id for id in ids if id in stage.ended]
        for id in ids:
            if id not in stage.ended:
                stage.asked[id] = terminate or stage.asked.get(id, False)
        stage.revoke(*ids, terminate=terminate)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.stage.pause(queue, paused=paused)

    @rule(client=st.sampled_from(CLIENTS), ended=st.booleans())
    def stop_waiting(self, client: str, ended: bool) -> None:
        mine = [id for each, id in self.stage.waits if each == client]
        for id in mine:
            del self.stage.waits[client, id]
        if ended:
            self.stage.end(client, whole=False)
        else:
            self.stage.hear(client, Unwait(mine))

    # The ledger

    @precondition(lambda self: self.stage.unwritten)
    @rule(batches=st.integers(1, 10))
    def write(self, batches: int) -> None:
        self.stage.write(batches)

    @precondition(lambda self: self.stage.untold)
    @rule()
    def tell(self) -> None:
        self.stage.tell()

    @rule()
    def settle(self) -> None:
        self.stage.settle()

    @rule(limit=st.integers(1, 20))
    def sweep(self, limit: int) -> None:
        stage = self.stage
        stage.take_up(0.5, 2.0, max(0, min(limit, stage.broker.room)))

    # Time

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.0, 3.0, WORKER_GONE]))
    def pass_time(self, seconds: float) -> None:
        """Who lives and is connected reads meanwhile, and hears the leader's beat."""
        self.stage.now += seconds
        if seconds >= 1:
            for runner in self.runners:
                if runner.alive and runner.line is not None and runner.line.end is None:
                    self._receive(runner, len(runner.line.down))
                    runner.heard = self.stage.now
        self.stage.step(Tick())

    # Runners: their work

    def _one(self, which: int) -> Runner | None:
        alive = [runner for runner in self.runners if runner.alive]
        return alive[which % len(alive)] if alive else None

    @initialize(
        runners=st.integers(1, 2),
        jobs=st.integers(1, 8),
        acks_late=st.booleans(),
        quick=st.booleans(),
    )
    def begin_with(self, runners: int, jobs: int, acks_late: bool, quick: bool) -> None:
        for _ in range(runners):
            self._start_runner(())
        if quick:  # known to be so: windows are longer than one call
            self.submit_calls(1, acks_late, None, None, 0, "celery", True)
            self.work(0, SUCCESS)
            self.work(1, SUCCESS)
        self.submit_calls(jobs, acks_late, None, None, 0, "celery", True)

    @precondition(lambda self: sum(each.alive for each in self.runners) < MOST_RUNNERS)
    @rule(queues=st.sampled_from([(), QUEUES, QUEUES[:1]]))
    def start_runner(self, queues: Sequence[str]) -> None:
        self._start_runner(queues)

    def _start_runner(self, queues: Sequence[str]) -> None:
        number = len(self.runners)
        runner = Runner(f"runner {number}", f"worker {number}", queues)
        self.runners.append(runner)
        self._dial(runner)
        self._welcome(runner)

    @rule(which=st.integers(0, 9), most=st.integers(1, 20))
    def receive(self, which: int, most: int) -> None:
        runner = self._one(which)
        if runner is not None:
            self._welcome(runner)
            self._receive(runner, most)

    def _receive(self, runner: Runner, most: int) -> None:
        line = runner.line
        while line is not None and line.down and most:
            runner.receive(line.down.popleft(), self.stage.now)
            most -= 1

    @rule(which=st.integers(0, 9))
    def begin(self, which: int) -> None:
        runner = self._one(which)
        if runner is not None and runner.running is None:
            self._turn(runner)

    def _turn(self, runner: Runner) -> None:
        """Report what has ended and begin what is next, as the runner does in one breath."""
        if runner.running is not None:
            return
        outcome, runner.unsaid = runner.unsaid, None
        call = runner.next_call(self.stage.now)
        said: list[Message] = [] if outcome is None else [Report([outcome])]
        if call is not None and call.marked:
            said.append(Begun(call.id, call.hand))
        if said and not runner.say(*said):
            return
        runner.running = call
        if call is not None:
            self.stage.begin(call)

    @rule(which=st.integers(0, 9), depends=st.booleans())
    def spawn(self, which: int, depends: bool) -> None:
        """The call that is running submits two others, and waits until they are committed."""
        runner = self._one(which)
        if runner is None or runner.running is None or runner.spawning is not None:
            return
        if len(self.stage.jobs) + 2 > MOST_JOBS:
            return
        call, ids = runner.running, [self._new_id(), self._new_id()]
        shapes = (Shape.NOTHING, Shape.FIRST if depends else Shape.NOTHING)
        jobs = [
            new_job(id, parent_id=call.id, shape=shape)
            for id, shape in zip(ids, shapes, strict=True)
        ]
        edges = [Edge(*ids, 0, takes_result=True)] if depends else []
        runner.spawning = Spawn(self.made, False, call.id, call.attempt, call.hand, jobs, edges)
        runner.say(runner.spawning)

    @rule(
        which=st.integers(0, 9),
        state=st.sampled_from([SUCCESS, SUCCESS, FAILURE, RETRY, PENDING]),
        runtime=st.sampled_from([0.001, 0.001, 0.1]),
    )
    def finish(self, which: int, state: str, runtime: float) -> None:
        runner = self._one(which)
        if runner is not None:
            self._finish(runner, state, runtime)

    def _finish(self, runner: Runner, state: str, runtime: float) -> None:
        call = runner.running
        if call is None or (runner.spawning is not None and not runner.killed):
            return
        if state not in READY_STATES and call.attempt == 3:
            state = FAILURE
        if runner.killed:
            state = REVOKED
        delay = runtime if state == RETRY else 0.0
        now = EPOCH + self.stage.now
        outcome = end_of(call, state, runtime=runtime, finished=now, delay=delay)
        runner.kept[call.id, call.hand] = runner.unsaid = outcome
        runner.running, runner.spawning, runner.killed = None, None, False

    @rule(calls=st.integers(0, 3), state=st.sampled_from([SUCCESS, SUCCESS, FAILURE, RETRY]))
    def work(self, calls: int, state: str) -> None:
        """Let all go well for so many calls of each runner; each is then in its next call."""
        self.stage.settle()
        for runner in [each for each in self.runners if each.alive]:
            self._receive(runner, 100)
            for _ in range(calls):
                self._finish(runner, state, 0.001)
                self._turn(runner)
            if runner.running is None:
                self._turn(runner)
        for peer in list(self.stage.lines):
            self._hear(peer, 100)
        self.stage.settle()

    @rule(which=st.integers(0, 9), most=st.integers(1, 20))
    def hear(self, which: int, most: int) -> None:
        """Let the dispatcher read a line; its end comes after all that was said on it."""
        lines = list(self.stage.lines)
        if lines:
            self._hear(lines[which % len(lines)], most)

    def _hear(self, peer: str, most: int) -> None:
        line = self.stage.lines[peer]
        while line.up and most:
            self.stage.hear(peer, line.up.popleft())
            most -= 1
        if not line.up and line.end is not None:
            del self.stage.lines[peer]
            self.stage.step(LineEnded(peer, line.end))

    # Runners: what befalls them

    @rule(which=st.integers(0, 9), whole=st.booleans(), arriving=st.integers(0, 5))
    def die(self, which: int, whole: bool, arriving: int) -> None:
        runner = self._one(which)
        if runner is not None:
            _end_line(runner, whole, arriving)
            runner.alive = False

    @rule(which=st.integers(0, 9))
    def lose_worker(self, which: int) -> None:
        """Its process dies, all hear of it, and another takes its place."""
        runner = self._one(which)
        if runner is not None:
            self.die(which, True, 0)
            if runner.id in self.stage.lines:
                self._hear(runner.id, 1_000)
            self.stage.step(WorkerGone(runner.worker))
            self._start_runner(runner.queues)
            self.work(0, SUCCESS)

    @rule(which=st.integers(0, 9), arriving=st.integers(0, 5), unnoticed=st.integers(0, 2))
    def lose_line(self, which: int, arriving: int, unnoticed: int) -> None:
        """The network fails; the runner may go on with its window for so many calls."""
        runner = self._one(which)
        if runner is not None:
            _end_line(runner, False, arriving)
            for _ in range(unnoticed):
                self._finish(runner, SUCCESS, 0.001)
                self._turn(runner)
            if not unnoticed:
                self._notice(runner)

    @rule(which=st.integers(0, 9))
    def hang_up(self, which: int) -> None:
        """The runner cannot read what came, and ends its line itself."""
        runner = self._one(which)
        if runner is not None:
            _end_line(runner, True, 0)
            self._notice(runner)

    def _notice(self, runner: Runner) -> None:
        if runner.line is not None and runner.line.end is not None:
            runner.line = None
            runner.window.clear()

    @rule(which=st.integers(0, 9), welcomed=st.booleans())
    def dial(self, which: int, welcomed: bool) -> None:
        runner = self._one(which)
        if runner is not None:
            self._notice(runner)
            self._dial(runner)
            if welcomed:
                self._welcome(runner)

    def _dial(self, runner: Runner) -> None:
        if runner.line is not None or runner.dialled is not None:
            return
        if runner.ending and not runner.kept and runner.idle:
            return
        if runner.id in self.stage.lines:
            self._hear(runner.id, 1_000)  # the old line has ended when the new one is greeted
        runner.dialled = self.stage.lines[runner.id] = Line()
        held = runner.held()
        self.stage.step(RunnerUp(runner.id, runner.worker, runner.queues, held))

    def _welcome(self, runner: Runner) -> None:
        line, runner.dialled = runner.dialled, None
        if line is not None and line.end is None:
            runner.line, runner.heard = line, self.stage.now
            if runner.kept:
                runner.say(Report(list(runner.kept.values())))
            if runner.spawning is not None:
                runner.spawning = runner.spawning._replace(again=True)
                runner.say(runner.spawning)

    @rule(which=st.integers(0, 9), whole=st.booleans())
    def leave(self, which: int, whole: bool) -> None:
        """The worker closes in order; the dispatcher answers that nothing more will come."""
        runner = self._one(which)
        if runner is None:
            return
        if runner.ending:
            self._leave(runner, whole)
        else:
            runner.say(Leave())

    def _leave(self, runner: Runner, whole: bool) -> None:
        if runner.idle and runner.line is not None:
            runner.give_back()
        if runner.idle and not runner.kept:
            _end_line(runner, whole, 1_000)
            runner.alive = False

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 1_000))
    def remove_worker(self, which: int) -> None:
        """Dask removes a worker: a dead one at last, a live one in error."""
        runner = self.runners[which % len(self.runners)]
        self.stage.step(WorkerGone(runner.worker))

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9))
    def give_place_to_another(self, which: int) -> None:
        """The dispatcher has lost sight of a runner, and has placed another one."""
        runner = self.runners[which % len(self.runners)]
        self.stage.step(Placed(runner.worker, ()))

    # Dispatchers

    @rule(read=st.integers(0, 5), drained=st.booleans(), found=st.booleans())
    def change_leader(self, read: int, drained: bool, found: bool) -> None:
        """Another one leads. Runners may dial it before it has looked for what was in flight."""
        if drained:
            self.stage.step(Drain())
            self.stage.settle()
        self._change_leader(read)
        if not found:
            for runner in self.runners:
                if runner.alive:
                    self._notice(runner)
                    self._dial(runner)
        self.stage.step(Found(self.stage.desk.in_flight()))

    def _change_leader(self, read: int) -> None:
        stage = self.stage
        for runner in self.runners:
            if runner.alive:
                self._receive(runner, read)
            _end_line(runner, False, 0)
            runner.dialled = None
        stage.lines.clear()
        stage.take_over(stage.broker.rules)
        stage.step(Paused(stage.desk.paused()))
        for terminate in (False, True):
            asked = [id for id, each in stage.asked.items() if each is terminate]
            self._revoke([id for id in asked if id not in stage.ended], terminate)
        for client in CLIENTS:
            ids = [id for each, id in stage.waits if each == client]
            for id in ids:
                stage.waits[client, id] = False
            stage.hear(client, Wait(ids))

    # The end

    def teardown(self) -> None:
        stage = self.stage
        stage.now += 1
        for queue in QUEUES:
            stage.pause(queue, paused=False)
        self._start_runner(())
        for seconds in (1.0, 1.0, 1.0, 1.0, WORKER_GONE, 1.0, 1.0, WORKER_GONE, 1.0, 1.0):
            self._work_in_peace()
            if len(stage.ended) == len(stage.jobs):
                break
            self.pass_time(seconds)

        assert len(stage.ended) == len(stage.jobs), "when faults stop, every job ends"
        for edge in stage.edges:
            if stage.ended[edge.parent_id] != SUCCESS:
                end = REVOKED if edge.child_id in stage.asked else FAILURE
                assert stage.ended[edge.child_id] in (end, FAILURE), "[8] dependants fail too"
        while stage.lookups:
            stage.look_up()
        for (client, id), told_to_look in stage.waits.items():
            assert told_to_look, "who waits is told of the end, or to look in the ledger"
            stage.hear(client, Unwait([id]))
        stage.step(Unrevoke([id for id in stage.broker._roster.revoked if id not in stage.ended]))
        stage.step(Unrevoke(self.late))
        self.pass_time(WORKER_GONE)
        assert left_in(stage.broker) == {}, "[7] nothing is left of jobs that have ended"
        assert stage.broker.in_flight == 0
        assert stage.refused == []
        for runner in self.runners:
            if runner.alive:
                assert runner.idle, "[7]"
                assert not runner.kept, "[7]"
                assert not runner.window, "[7]"

    def _work_in_peace(self) -> None:
        stage = self.stage
        for runner in self.runners:
            if not runner.alive:
                stage.step(WorkerGone(runner.worker))
        stage.take_up(0.5, 2.0, max(0, stage.broker.room))
        stage.settle()
        for _ in range(10 * MOST_JOBS):
            self._work_once()
            if self._is_quiet():
                return
        raise AssertionError("when faults stop, all comes to rest")

    def _work_once(self) -> None:
        stage = self.stage
        for runner in [each for each in self.runners if each.alive]:
            self._notice(runner)
            self._dial(runner)
            self._welcome(runner)
            self._receive(runner, 1_000)
            self._finish(runner, SUCCESS, 0.001)
            self._turn(runner)
            if runner.ending:
                self._leave(runner, True)
        for peer in list(stage.lines):
            self._hear(peer, 1_000)
        stage.settle()

    def _is_quiet(self) -> bool:
        lines = self.stage.lines.values()
        return (
            not any(line.up or line.down for line in lines)
            and not (self.stage.unwritten or self.stage.untold or self.stage.unspawned)
            and all(
                runner.idle and not runner.kept and not runner.window
                for runner in self.runners
                if runner.alive
            )
        )


TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)
