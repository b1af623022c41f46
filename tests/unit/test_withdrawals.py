"""Stamps by which calls are revoked, in options that anybody may have written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_facade.serialization import dumps
from dask_facade.withdrawals import is_stamped

WANTED = {"customer": [7, "a"]}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("options", "stamped"),
    [
        ({"stamps": {"customer": [7, 8]}}, True),
        ({"stamps": {"customer": 9}}, False),
        ({"stamped_headers": ["customer"], "headers": {"customer": "a"}}, True),
        ({"headers": {"customer": "a"}}, False),
    ],
)
def test_a_call_is_revoked_by_a_value_of_a_stamp(options: dict[str, Any], stamped: bool) -> None:
    assert is_stamped(dumps(options), WANTED) is stamped


@given(ODD, ODD, ODD)
def test_what_are_no_stamps_revokes_nothing_and_raises_nothing(
    stamps: Any, headers: Any, names: Any
) -> None:
    options = {"stamps": stamps, "headers": headers, "stamped_headers": names}

    assert not is_stamped(dumps(options), {"customer": ["of nobody"]})
