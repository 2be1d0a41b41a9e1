"""Durations as the configuration and the control API accept them: one number and one unit, ``90s``, ``15m``, ``24h``.

The result is in seconds. A decimal fraction of up to three digits is accepted (``0.5s``). Whether zero makes sense is
decided by the caller, who knows the key.
"""

from __future__ import annotations

import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# A bare number is refused rather than guessed at: some would read idle_ttl = 24 as seconds, others as hours.
# A sum (1h30m) is refused because 90m says the same.
_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])")

# Ten years, in seconds. Longer times could overflow timers and the arithmetic of the session store.
LONGEST = 3650 * 86400.0

MEANT = 'expected a duration, a number with its unit in quotes: "90s", "15m", "24h" or "7d"'


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` stands for. Raises ``ValueError`` with the expected form."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(MEANT)
    seconds = float(form[1]) * _UNITS[form[2]]
    if seconds > LONGEST:
        raise ValueError('a duration must be at most ten years, "3650d"')
    return seconds
