"""Bodies: JSON, of a size and a depth that a site can bear."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import JSONParser

from dask_facade.api.problems import TooDeep, TooLarge
from dask_facade.submitting import PAYLOAD_LIMIT

DEPTH_LIMIT = 32
"""Lists and objects within each other, at most."""


class BoundedJSONParser(JSONParser):
    """Reads at most ``settings.DATA_UPLOAD_MAX_MEMORY_SIZE`` bytes of JSON."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return what the body says; raise TooLarge, TooDeep or ParseError."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or PAYLOAD_LIMIT
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body is larger than the {limit:,} bytes that are taken.")
        try:
            said = super().parse(BytesIO(body), media_type, dict(parser_context or {}))
        except RecursionError:
            raise _too_deep() from None
        if _deeper(said, DEPTH_LIMIT):
            raise _too_deep()
        return said


def _too_deep() -> TooDeep:
    return TooDeep(f"More than {DEPTH_LIMIT} lists and objects are nested.")


def _deeper(said: Any, depth: int) -> bool:
    """Tell whether lists and objects in *said* are nested deeper than *depth*."""
    level = [said]
    for _ in range(depth):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each if isinstance(each, list) else each.values())
        ]
    return any(isinstance(each, list | dict) for each in level)
