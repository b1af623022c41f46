"""The blocks of code of documents; of those on tasks, what each needs to be run as it is printed.

The documents lie beside the checkout, as the seeds of the project: none of their text is here but
what a repair changes.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dask
from distributed import Client, get_client

from dask_facade import shared_task
from tests.cluster.processes import ROOT

SEEDS = ROOT.parent / "shared" / "seeds"
BLOCK = re.compile(r"^( *)\.\. code-block:: python\n((?:\1 +.*\n|\s*\n)+)", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A block by its number, with what stands before and after it, and what is changed in it.

    *why* says what is wrong with it as it is printed. Those that are only given names, which the
    document leaves to its reader, need no reason.
    """

    number: int
    given: str = ""
    changed: tuple[tuple[str, str], ...] = ()
    after: str = ""
    why: str = ""

    def code_in(self, document: str, folder: Path) -> str:
        """Return the code that is run; what is written or read of files is in *folder*."""
        printed = blocks_of(document)[self.number]
        for old, new in self.changed:
            assert old in printed, f"block {self.number} of {document} has no {old!r}"
            printed = printed.replace(old, new)
        parts = (self.given, printed, self.after)
        code = "\n".join(textwrap.dedent(each).strip("\n") for each in parts)
        return code.replace("{table}", repr(table_in(folder))).replace(
            "{folder}", repr(f"{folder}/written")
        )


@cache
def text_of(document: str) -> str:
    """Return what a document says; raise AssertionError if it is not beside the checkout."""
    found = list(SEEDS.glob(f"{document}_*.txt"))
    assert found, f"the document {document}_*.txt is not in {SEEDS}: it is not of this tree"
    return found[0].read_text()


@cache
def blocks_of(document: str) -> list[str]:
    """Return the blocks of Python in a document, without prompts and what these answer."""
    return [_unprompted(textwrap.dedent(code)) for _, code in BLOCK.findall(text_of(document))]


def _unprompted(code: str) -> str:
    if ">>> " not in code:
        return code
    before, prompt, session = code.partition(">>> ")
    lines = (prompt + session).splitlines()
    typed = [line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")]
    return "\n".join([before, *typed])


@shared_task
def run_in_job(blocks: list[str], scheduler: str) -> list[str]:
    """Run blocks as a job; return what each raised.

    The client is the worker's: Dask takes a second one there for that, and actors then mix up the
    loops of both.
    """
    blocks = [block.replace("Client()", "get_client()") for block in blocks]
    return run_here(blocks, scheduler, get_client=get_client)


def run_here(blocks: list[str], scheduler: str, **given: Any) -> list[str]:
    """Run blocks, with one set of names; return what each raised."""
    printed: list[str] = []
    names: dict[str, Any] = {
        "__name__": "__main__",  # a program: and what it defines travels by value
        "print": lambda *values: printed.append(" ".join(map(str, values))),
        "printed": printed,
        **given,
    }
    clients = set(Client._instances)
    errors = []
    with dask.config.set({"scheduler-address": scheduler}):  # where ``Client()`` connects
        for block in blocks:
            errors.append(_error_of(block, names))
        for client in set(Client._instances) - clients:
            if client.status != "closed":
                client.close()
    return errors


def _error_of(block: str, names: dict[str, Any]) -> str:
    try:
        _run(block, names)
    except BaseException:
        return f"{block}\n{traceback.format_exc()}"
    return ""


def _run(code: str, names: dict[str, Any]) -> None:
    compiled = compile(code, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(compiled, names))
    else:
        exec(compiled, names)


def table_in(folder: Path) -> str:
    """Return the path of a table that blocks read."""
    path = folder / "training-data.csv"
    path.write_text("name,x\nAlice,1\nBob,2\nAlice,3\n")
    return str(path)


FIRST = "002"  # on launching tasks from tasks
SECOND = "003"  # on tasks

BLOCKS = {
    FIRST: [
        Block(
            0,
            """
            from distributed import Client
            client = Client()
            uri = "abc"
            def download_and_convert_to_list(uri):
                return list(uri)
            """,
            after="assert future.result() == ['a', 'b', 'c']",
        ),
        Block(
            1,
            """
            e = client
            process_element, aggregate = ord, sum
            """,
            after="assert analysis.result() == 294",
            why="it calls its client e here",
        ),
        Block(2, "data = future", after="assert analysis.result() == 294"),
        Block(3, after="assert printed.pop() == '55'"),
        Block(4, after="assert printed.pop() == '55'"),
        Block(
            5,
            changed=(
                ("a, b = client.gather", "secede(); a, b = client.gather"),
                ("    return a + b", "    rejoin(); return a + b"),
            ),
            after="assert printed.pop() == '55'",
            why="on one thread it waits for ever, as the document says below it",
        ),
        Block(6, after="assert client.submit(fib, 10, pure=False).result() == 55"),
        Block(
            7,
            "from distributed import Client",
            changed=(("\n     with", "\n    with"), ("\n     return a", "\n    return a")),
            after="assert printed.pop() == '55'",
            why="two lines of it are indented by a blank too many",
        ),
    ],
    SECOND: [
        Block(0, changed=(("processes=False", ""),), why="there is a cluster, whose kind is given"),
        Block(1),
        Block(2),
        Block(3, after="assert a.result() == 11"),
        Block(4),
        Block(5),
        Block(6, after="assert c.result() == 32"),
        Block(7, after="assert results == list(range(1, 1001))"),
        Block(
            8,
            "import pandas as pd\nmy_function = len",
            changed=(("'training-data.csv'", "{table}"),),
            after="assert task.result() == 3",
        ),
        Block(9, after="assert task.result() == 3"),
        Block(10, after="assert client.gather(client.scatter([4, 5])) == [4, 5]"),
        Block(11, after="assert 'task' not in vars()"),
        Block(
            12,
            "task = client.submit(inc, 41)",
            after="""
            from concurrent.futures import CancelledError
            try:
                task.result()
            except CancelledError:
                task = None
            assert task is None
            """,
        ),
        Block(
            13,
            changed=(("a.result()", "assert isinstance(a.exception(), ZeroDivisionError)"),),
            after="""
            import traceback
            assert "in div" in "".join(traceback.format_tb(a.traceback()))
            """,
            why="its last line raises, as it should",
        ),
        Block(14, after="assert isinstance(b.exception(), ZeroDivisionError)"),
        Block(15, after="assert all(task.done() for task in tasks)"),
        Block(16, "score, x_values = abs, [-3, 5, 4]", after="assert best == 5"),
        Block(17, after="assert result in (3, 5, 4)"),
        Block(18, after="assert result in (3, 5, 4)"),
        Block(
            19,
            "condition = lambda y: y == 5",
            changed=(("client.submit(...)", "client.submit(inc, y)"),),
            after="""
            assert y in (3, 4, 6) and new_task.result() == 6
            seq.update(client.map(inc, [7, 8]))
            assert sorted(task.result() for task in seq) == [8, 9]
            """,
            why="it leaves out what is submitted",
        ),
        Block(
            20,
            """
            filename, out_filename, filenames = "a", "out-a", ["b", "c"]
            load, process = str.upper, len
            write = lambda size, name: (name, size)
            """,
            after="assert c.result() == ('out-a', 1)",
        ),
        Block(21),
        Block(
            22,
            changed=(("def process(", "def process_file("), ("    process(", "    process_file(")),
            why="its own name is that of a function which it submits",
        ),
        Block(
            23,
            changed=(("client.submit(...)", "client.submit(inc, x)"),),
            after="assert my_function(1) == 4",
            why="it leaves out what is submitted",
        ),
        Block(
            24,
            """
            from distributed import Event
            class Device:
                data = 3
                def read_data(self):
                    self.data -= 1
                    if self.data < 0:
                        Event("read").set()
                        raise EOFError
                    return self.data
            devices, process = [Device()], inc
            """,
            changed=(("client.submit(monitor)", "client.submit(monitor, device)"),),
            after="assert Event('read').wait(20); Event('read').clear()",
            why="monitor is not told which device",
        ),
        Block(
            25,
            after="""
            assert isinstance(client.submit(monitor, Device()).exception(), EOFError)
            assert Event("read").is_set()
            """,
        ),
        Block(
            26,
            "from distributed import rejoin\nfunc, analyze = inc, sum",
            after="assert client.submit(f, 3).result() == 6",
        ),
        Block(
            27,
            "import dask.dataframe as dd",
            after="assert client.submit(f, 'Alice', {table}).result()['x'] == 2",
        ),
        Block(
            28,
            "load, process = str.upper, len",
            changed=(
                ("while True", "for _ in filenames"),
                ("queue.get()", "queue.get(timeout=60)"),
            ),
            after="assert printed[-2:] == ['1', '1']",
            why="it never ends, and would wait for ever for a file that could not be loaded",
        ),
        Block(
            29,
            changed=(("       ...", "       raise ValueError(x)"),),
            after="""
            client.submit(func, "no good")
            assert error_queue.get(timeout=20) == "no good"
            """,
            why="nothing of it raises",
        ),
        Block(
            30,
            "import numpy as np\nq = Queue()",
            changed=(("x = ...", "x = 'x' * 1000"),),
            after="""
            assert q.get() == x
            assert q.get().result() == x
            assert q.get()["status"] == "OK"
            """,
            why="an ellipsis is no array",
        ),
        Block(31, "from distributed import Variable", after="assert var.get() is False"),
        Block(
            32,
            changed=(("np.array(...)", "np.random.default_rng().random(2)"),),
            after="assert (var.get().result() == parameters).all()",
            why="an ellipsis is no array",
        ),
        Block(
            33,
            changed=(("# access protected resource", "assert lock.locked()"),),
            after="assert not lock.locked()",
            why="nothing stands in its block",
        ),
        Block(34, after="assert len(client.gather(tasks)) == 2"),
        Block(35, after="assert len(client.gather(tasks)) == 2"),
        Block(
            36,
            """
            from distributed import Event
            import threading
            threading.Timer(0.2, Event("my-event-1").set).start()
            """,
            after="assert event.is_set(); event.clear()",
        ),
        Block(37, after="assert event.is_set()"),
        Block(38),
        Block(39, after="assert all(task.status == 'finished' for task in tasks)"),
        Block(40),
        Block(
            41,
            "held = task",
            after="assert task.result() == 1",
            why="it lets go of the future, which is all that holds an actor",
        ),
        Block(42, after="assert counter.n == 1"),
        Block(
            43,
            changed=(("processes=False", ""),),
            why="there is a cluster, whose kind is given",
            after="assert len(printed) >= 20 and float(printed[-1]) > 0.9",
        ),
        Block(
            44,
            after="""
            client = await Client(asynchronous=True)
            await f()
            await client.close()
            """,
        ),
        Block(
            45,
            """
            import pandas as pd
            ddf = dd.from_pandas(pd.DataFrame(dict(x=[1, 2])), npartitions=1)
            client = await Client(asynchronous=True)
            """,
            changed=(("'/tmp/some.parquet'", "{folder}"),),
            after="""
            await client.close()
            assert pd.read_parquet({folder}).x.tolist() == [1, 2]
            """,
            why="what it writes should not stay",
        ),
    ],
}
"""In the order of the documents: a block sees what the ones before it have defined."""
