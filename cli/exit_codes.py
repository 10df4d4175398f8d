"""The exit codes of every command, daemons included."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """Yes, no, the command line cannot be meant, nobody answers."""

    YES = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3
