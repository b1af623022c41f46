"""Settings as people may see them: without what lets others in."""

from __future__ import annotations

import re
from typing import Any

MASK = "********"
_SECRETS = ("password", "secret", "token", "credential")
_IN_URL = re.compile(r"^(\s*[\w+.-]+://[^:/@]*:).*(?=@)")


def masked_setting(name: str, value: Any) -> Any:
    """Return the value of a setting; of a URL, or several with semicolons, without passwords."""
    if value and any(each in name.lower() for each in _SECRETS):
        return MASK
    if isinstance(value, str) and "://" in value:
        return ";".join(_IN_URL.sub(rf"\1{MASK}", each) for each in value.split(";"))
    return value
