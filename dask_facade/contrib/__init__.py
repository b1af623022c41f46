"""What some projects need beside the core."""

from __future__ import annotations
