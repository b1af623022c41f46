"""What a project uses of Celery, and what becomes of it here: ``python -m dask_facade.port``.

It reads text: neither the project nor Celery is imported.
"""

from __future__ import annotations
