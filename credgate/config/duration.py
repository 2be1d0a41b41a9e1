"""How long: the one form of a duration that the configuration and the control API accept.

A duration is one number and one unit: ``90s``, ``15m``, ``24h``, ``7d``. A bare number is refused rather than guessed
at: ``idle_ttl = 24`` has meant seconds to some and hours to others. So are sums (``1h30m``): ``90m`` says it.
A decimal fraction of up to three digits is read (``0.5s``). The result is seconds; nothing here knows which key asked,
nor whether zero makes sense there.
"""

from __future__ import annotations

import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])")

LONGEST = 3650 * 86400.0
"""Ten years, in seconds: timers and the store's arithmetic stay far from their ends."""

MEANT = 'a duration is a number with its unit, in quotes: "90s", "15m", "24h" or "7d"'


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` means; raise ``ValueError`` saying what was meant."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(MEANT)
    seconds = float(form[1]) * _UNITS[form[2]]
    if seconds > LONGEST:
        raise ValueError('a duration is at most ten years: "3650d"')
    return seconds
