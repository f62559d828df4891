from __future__ import annotations

from hypothesis import settings

# A shared machine may stall at any example; how long one takes is no property of the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
