"""Which queues an app's settings name: ``app.amqp``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue by its name; *exchange* and *routing_key* are what a message broker would be told."""

    name: str
    exchange: Any = None
    routing_key: str | None = None


class Queues(Mapping[str, Any]):
    """The queues of an app, by name, as its settings say them at the moment.

    Those of ``task_queues``, else the default one alone. A queue needs no declaration to be used:
    these are the ones that the settings know.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def __getitem__(self, name: str) -> Any:
        return self._app.conf.derived(_queues_of)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._app.conf.derived(_queues_of))

    def __len__(self) -> int:
        return len(self._app.conf.derived(_queues_of))

    def __repr__(self) -> str:
        return f"<Queues: {', '.join(self)}>"


class AMQP:
    """``app.amqp``, as far as there are queues without a message broker."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.queues = Queues(app)

    @property
    def default_queue(self) -> Any:
        """The queue of a call that names none."""
        name = self._app.conf.task_default_queue
        return self.queues.get(name) or _default(self._app.conf)


def _queues_of(conf: Any) -> Mapping[str, Any]:
    """Return what ``task_queues`` says: a list of queues or names, or a dict of options."""
    said = conf.task_queues
    if not said:
        default = _default(conf)
        return {default.name: default}
    if isinstance(said, Mapping):
        return {name: _with_options(name, options) for name, options in said.items()}
    queues = [Queue(each, each, each) if isinstance(each, str) else each for each in said]
    return {each.name: each for each in queues}


def _default(conf: Any) -> Queue:
    name = conf.task_default_queue
    exchange = conf.get("task_default_exchange") or name
    return Queue(name, exchange, conf.get("task_default_routing_key") or name)


def _with_options(name: str, options: Any) -> Any:
    if not isinstance(options, Mapping):
        return options
    return Queue(name, options.get("exchange", name), options.get("routing_key", name))
