"""An SSH server on loopback for the tests: ``python -m tests.cluster.ssh_server FOLDER``.

It prints its port, runs what is asked for by who has the key that it puts into the folder, and ends
with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import asyncssh

KEY = "key"


running: set[asyncio.Task[None]] = set()


async def serve(session: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command as long as its session lasts."""
    task = asyncio.ensure_future(run(session))
    running.add(task)
    await task
    running.discard(task)


async def run(session: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command; end it, if it has not ended, with its session."""
    child = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", session.command or ""),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env={"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]},  # nothing of the client's
    )
    ended = asyncio.ensure_future(child.wait())
    closed = asyncio.ensure_future(session.channel.wait_closed())
    await session.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    await asyncio.wait([ended, closed], return_when=asyncio.FIRST_COMPLETED)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    session.exit(await ended)


async def main(folder: Path) -> None:
    """Serve until standard input ends."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / KEY)
    key.write_public_key(folder / "authorized")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=str(folder / "authorized"),
        process_factory=serve,
        encoding=None,
    )
    sys.stdout.write(f"{server.get_port()}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    for session in list(running):
        await session


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
