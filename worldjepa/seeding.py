"""Seeds as functions of what they are for: everything random is drawn anew from (run seed, step, ...)."""

from __future__ import annotations

import numpy as np


def derive_seed(*parts: int) -> int:
    """Return a 63-bit seed that depends on every one of ``parts`` and their order (numpy's SeedSequence)."""
    return int(
        np.random.SeedSequence([part & (2**64 - 1) for part in parts]).generate_state(1, np.uint64)[0] >> 1
    )
