"""The line to the dispatcher, in the shape of a connection to a broker: ``app.connection()``."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from dask_facade.exceptions import LineClosed, LineRefused


class Connection:
    """Tells of this process's line to the dispatcher. It opens nothing, and closing it closes none.

    *url* is what the settings call the broker; nothing is sent there.
    """

    connection_errors: tuple[type[Exception], ...] = (LineClosed, LineRefused)
    recoverable_connection_errors = connection_errors
    channel_errors: tuple[type[Exception], ...] = ()
    recoverable_channel_errors = channel_errors
    transport_cls = "dask_facade"

    def __init__(self, app: Any, url: str | None = None) -> None:
        self._app = app
        self.url = url

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Connection: {self.as_uri()}>"

    @property
    def connected(self) -> bool:
        """Whether the line is up. It is dialled when there is something to say."""
        return bool(self._app.client.connected)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the leading dispatcher listens, as the ledger says; empty where none ever led."""
        lease = self._app.store.lease()
        return () if lease is None else tuple(lease.addresses)

    @property
    def hostname(self) -> str | None:
        """The host of the leading dispatcher."""
        return self.addresses[0].rpartition(":")[0] if self.addresses else None

    @property
    def port(self) -> int | None:
        """The port of the leading dispatcher."""
        return int(self.addresses[0].rpartition(":")[2]) if self.addresses else None

    def as_uri(self, include_password: bool = False, **celery_options: Any) -> str:
        """Return ``dask-facade://host:port``, without a port where no dispatcher leads."""
        return f"dask-facade://{self.addresses[0] if self.addresses else ''}"

    def info(self) -> dict[str, Any]:
        """Return what is known of it."""
        return {
            "hostname": self.hostname,
            "port": self.port,
            "transport": self.transport_cls,
            "connected": self.connected,
        }

    def connect(self) -> Connection:
        """Return it: what is said goes into the ledger, and the line is dialled when it helps."""
        return self

    def ensure_connection(self, *args: Any, **options: Any) -> Connection:
        """As `connect`."""
        return self

    @property
    def default_channel(self) -> Connection:
        """It has no channels."""
        return self

    def queue_declare(self, *args: Any, **options: Any) -> None:
        """Do nothing: a queue is there when a job names it."""

    def release(self) -> None:
        """Do nothing: the line is the process's."""

    close = release
