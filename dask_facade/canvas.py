"""How signatures compose: chain, group, chord, chunks, map, and what ``|`` makes of them."""

from __future__ import annotations

from dask_facade.chains import _chain, _fold_chain, _merge_chain_step, chain
from dask_facade.chords import (
    _chord,
    _clear_chord_option,
    _maybe_group,
    _strip_chord_header_links,
    chord,
)
from dask_facade.groups import group, maybe_unroll_group
from dask_facade.maps import chunks, xmap, xstarmap
from dask_facade.signatures import Signature, maybe_signature, signature
from dask_facade.stamping import StampingVisitor
from dask_facade.stamps import _merge_dictionaries

__all__ = [
    "Signature",
    "StampingVisitor",
    "_chain",
    "_chord",
    "_clear_chord_option",
    "_fold_chain",
    "_maybe_group",
    "_merge_chain_step",
    "_merge_dictionaries",
    "_strip_chord_header_links",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "maybe_unroll_group",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]

subtask = signature
maybe_subtask = maybe_signature
