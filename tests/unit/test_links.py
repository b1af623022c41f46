"""Callbacks that are said when a chord is submitted: they go to what ends it, behind its own."""

from __future__ import annotations

import pytest

from dask_facade.canvas import Signature, chain, chord, group
from dask_facade.packing import unpack_jobs
from tests.unit.plans import plan_of

A, B, C, D, E = (Signature(name) for name in "abcde")
GROUP = group(B, C)
NEW, OTHER = Signature("new"), Signature("other")


def having(name, **options):
    """A signature that has callbacks of its own."""
    return Signature(name, options=options)


def linked(plan):
    """What runs behind which job, as "before>behind", of those that are linked."""
    task = {job.id: job.task for job in plan.jobs}
    edges = [f"{task[edge.parent_id]}>{task[edge.child_id]}" for edge in plan.edges]
    return " ".join(each for each in edges if each.rpartition(">")[2] in ("new", "other", "own"))


def errbacks(plan):
    """Which error callbacks each job has, of those that have some."""
    own = {job.task: [each.task for each in unpack_jobs(job.errbacks)] for job in plan.jobs}
    return {name: each for name, each in own.items() if each}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (chord([A], B), "b>new"),
        (chord([A], having("b", link=[having("own")])), "b>own b>new"),
        (chord([A], B).set(link=[OTHER]), "b>new"),  # what is said last counts
        (chord([A], GROUP), "b>new"),  # that of a group is its first member's
        (chord([A], chord([B, C], D)), "d>new"),
        (chord([A], chord([B, C], group(D, E))), "d>new"),
        (chain(A, chord([B, C], having("d", link=[having("own")]))), "d>own d>new"),
        (chord([A]), "a>new"),  # which is its header as yet
    ],
)
def test_a_callback_of_a_chord_is_that_of_its_body(made, expected):
    before = repr(dict(made))

    assert linked(plan_of(made.clone(link=NEW))) == expected
    assert repr(dict(made)) == before


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (chord([A], B), {"b": ["new"]}),
        (chord([A], having("b", link_error=[OTHER])), {"b": ["other", "new"]}),
        (
            chord([A], group(having("b", link_error=OTHER), C)),
            {"b": ["other", "new"], "c": ["new"]},
        ),
        (chord([A], GROUP.clone(link_error=[])), {"b": ["new"], "c": ["new"]}),
        (chord([A], GROUP.clone(link_error=OTHER)), {"b": ["other", "new"], "c": ["other", "new"]}),
        (chord([A], chord([B, C], D)), {"d": ["new"]}),  # it fails when anything before it does
        (chord([A], group(chord([B], C), D)), {"c": ["new"], "d": ["new"]}),
    ],
)
def test_an_error_callback_of_a_chord_is_that_of_its_body(made, expected):
    assert errbacks(plan_of(made.clone(link_error=NEW))) == expected


def test_what_is_said_once_is_not_kept_for_the_next_time():
    made = chord([A], GROUP)

    assert linked(plan_of(made.clone(link=NEW))) == "b>new"
    assert linked(plan_of(made.clone(link=OTHER))) == "b>other"
    assert linked(plan_of(made)) == ""


def test_a_group_of_callbacks_is_not_changed():
    callbacks = group(NEW, OTHER)

    plan = plan_of(chord([A], GROUP).clone(link=callbacks))

    assert linked(plan) == "b>new b>other"
    assert not any(each.immutable for each in callbacks.tasks)
