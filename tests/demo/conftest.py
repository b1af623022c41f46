from __future__ import annotations

import sys
from pathlib import Path

DEMO_SITE = Path(__file__).resolve().parents[2] / "demo_site"

# manage.py finds the demo's packages beside itself; so do its tests.
if str(DEMO_SITE) not in sys.path:
    sys.path.append(str(DEMO_SITE))
