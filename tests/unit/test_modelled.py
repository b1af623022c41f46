"""Tasks that are called with pydantic's models."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.modelled import Models


class Order(BaseModel):
    number: int
    lines: list[str] = []


class Receipt(BaseModel):
    total: int


class Strange(BaseModel):
    """One that nobody makes anew of what it says."""

    number: int

    def __eq__(self, other: object) -> bool:
        return False


@pytest.fixture
def pay(app):
    @app.task(name="modelled.pay", pydantic=True)
    def pay(order: Order, *, twice: Order | None = None) -> Receipt:
        return Receipt(total=order.number + (0 if twice is None else twice.number))

    return pay


def test_a_model_is_made_of_what_was_sent_and_what_it_returns_is_dumped(pay):
    assert pay.apply(({"number": 3},)).get() == {"total": 3}
    assert pay.apply(({"number": 3},), {"twice": {"number": 4}}).get() == {"total": 7}


def test_what_makes_no_model_fails(pay):
    with pytest.raises(ValidationError):
        pay.apply(({"number": "many"},), throw=True)


@pytest.mark.parametrize("way", ["apply", "delay", "signature"])
def test_a_caller_may_give_the_model(app, pay, way):
    app.conf.task_always_eager = True
    order = Order(number=5, lines=["a"])
    ways = {
        "apply": lambda: pay.apply((order,)),
        "delay": lambda: pay.delay(order),
        "signature": lambda: pay.s(order).apply_async(),
    }

    assert ways[way]().get() == {"total": 5}


def test_models_are_sent_as_what_they_say():
    def function(order: Order, other: Strange | None = None, **more: object) -> None:
        pass

    models = Models(function, "modelled.function")
    order, strange = Order(number=1), Strange(number=2)

    args, kwargs = models.dumped([order], {"other": strange, "third": order})

    assert args == [{"number": 1, "lines": []}]
    assert kwargs["other"] is strange  # it would come back as another one
    assert kwargs["third"] is order  # the function says of it nothing


def test_a_bound_task_is_no_argument_of_its_callers(app):
    @app.task(name="modelled.bound", bind=True, pydantic=True)
    def bound(self, order: Order) -> int:
        return order.number + (self.name == "modelled.bound")

    assert bound._dump_models((Order(number=1),), {})[0] == ({"number": 1, "lines": []},)
    assert bound.apply((Order(number=1),)).get() == 2


def test_options_of_validation_and_dumping(app):
    @app.task(
        name="modelled.strict",
        pydantic=True,
        pydantic_strict=True,
        pydantic_context={"tenant": "a"},
        pydantic_dump_kwargs={"exclude": {"lines"}},
    )
    def strict(order: Order) -> Order:
        return order

    assert strict.apply(({"number": 1},)).get() == {"number": 1}
    with pytest.raises(ValidationError):
        strict.apply(({"number": "1"},), throw=True)


def test_a_coroutine_function_takes_models(app):
    @app.task(name="modelled.coroutine", pydantic=True)
    async def coroutine(order: Order) -> Receipt:
        return Receipt(total=order.number)

    assert coroutine.apply(({"number": 2},)).get() == {"total": 2}


def test_without_pydantic_it_says_what_is_missing(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("dask_facade.modelled.importlib.import_module", missing)

    with pytest.raises(ImproperlyConfigured, match="pip install"):
        Models(lambda order: None, "modelled.lacking")
