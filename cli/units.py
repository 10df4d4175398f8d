"""Numbers as a person reads them: bytes, times, round trips; a dash for what is not known."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN = "-"

_SCALE = (" B", " kB", " MB", " GB", " TB", " PB")
_AGES = ((1.0, 60.0, "s"), (60.0, 60.0, "min"), (3600.0, 24.0, "h"), (86400.0, float("inf"), "d"))


def byte_count(count: float | None) -> str:
    """Decimal multiples, three digits at most: ``999 B``, ``1.2 kB``, ``34 MB``."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in _SCALE:
        if round(value) < 1000 or unit == _SCALE[-1]:
            break
        value /= 1000
    digits = 1 if unit != " B" and value < 9.95 else 0
    return f"{value:.{digits}f}{unit}"


def age(seconds: float | None) -> str:
    """One unit, rounded down, so that nothing is called older than it is."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{int(max(seconds, 0) * 10) / 10:.1f} s"
    for size, limit, unit in _AGES:
        if seconds / size < limit:
            return f"{int(seconds / size)} {unit}"
    raise AssertionError("the last age has no limit")


def milliseconds(value: float | None) -> str:
    """Two significant digits under ten, whole milliseconds above."""
    if value is None:
        return UNKNOWN
    digits = 2 if value < 1 else 1 if value < 10 else 0
    return f"{value:.{digits}f} ms"


def seconds(value: float | None) -> str:
    """A length of time that may be short: milliseconds under one second, else as an age."""
    if value is None:
        return UNKNOWN
    return milliseconds(value * 1000) if value < 1 else age(value)


def date(unix_seconds: float) -> str:
    """*unix_seconds* to the minute. Records may say any number; a calendar ends somewhere."""
    try:
        return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return str(unix_seconds)
