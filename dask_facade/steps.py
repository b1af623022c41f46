"""What a chain runs, in order: its steps without those that are nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dask_facade.chords import chord
from dask_facade.groups import group, is_empty_group, maybe_unroll_group
from dask_facade.signatures import Signature, maybe_signature


def flat_steps(steps: Iterable[Any], *, clone: bool = True) -> list[Any]:
    """Return the steps of a chain, those of chains in it among them, without what is nothing.

    Of a chain that is nothing, an empty group is left if there is one.
    """
    flat: list[Any] = []
    nothing: Any = None
    for each in steps:
        if isinstance(each, Signature.TYPES["chain"]):
            inner = flat_steps(each.unchain_tasks() if clone else each.tasks, clone=clone)
            if each.args and inner:
                inner[0].args = (*each.args, *inner[0].args)
        else:
            inner = [maybe_unroll_group(each) if isinstance(each, group) else each]
        for step in inner:
            if is_empty_group(step):
                nothing = step
            elif clone and isinstance(step, chord) and _is_led_by_a_task(step.body):
                flat += flat_steps(_parted(step))
            else:
                flat.append(step)
    return flat or ([nothing] if nothing is not None else [])


def _is_led_by_a_task(body: Any) -> bool:
    return (
        isinstance(body, Signature.TYPES["chain"])
        and bool(body.tasks)
        and not isinstance(body.tasks[0], group)
    )


def _parted(whole: Any) -> list[Any]:
    """Return a chord whose body is a chain as one whose body is the first step, and the others."""
    copy: Any = whole.clone()
    copy.body, *others = copy.body.unchain_tasks()
    return [copy, *others]


def steps_of(whole: Any) -> list[Any]:
    """Return what a chain runs, in order: chains in it stay whole, what is nothing is left out."""
    steps = [maybe_signature(each) for each in whole.tasks]
    kept = [each for each in steps if not is_nothing(each)]
    if not kept:
        return flat_steps(steps)
    return [maybe_unroll_group(each) if isinstance(each, group) else each for each in kept]


def is_nothing(step: Any) -> bool:
    """Tell whether a step runs nothing, so that what it would get goes to the next one."""
    if isinstance(step, Signature.TYPES["chain"]):
        return all(map(is_nothing, step.tasks))
    return is_empty_group(step)


def first_behind(result: Any) -> Any:
    """Return the first of results that follow one another."""
    while result.parent is not None:
        result = result.parent
    return result


def cut_off(results: list[Any], ended: Any) -> Any:
    """Part a result from those that follow it; return the one that followed it."""
    follower = results[-1] if results else None
    while follower is not None and follower.parent is not ended:
        follower = follower.parent
    if follower is not None:
        follower.parent = None
    return follower
