"""What a process draws once, at its start, to be told from the one before it."""

from __future__ import annotations

import os
from pathlib import Path

from fabric.core.identity import INSTANCE_BYTES, Instance
from fabric.core.standing import next_boot_seq
from fabric.errors import ConfigError
from fabric.runtime.state import read_document, write_document

BOOT_FILE = "boot.json"


def claim_boot_seq(state_dir: Path, unix_now: float) -> int:
    """Return the boot_seq of a process begun at *unix_now*; when it returns, the disk has it.

    Must come before the first dial, or a crash in between would let two processes bear the same
    number. Blocks for the disk. Raises :exc:`OSError`, or :exc:`ConfigError` for a damaged file:
    to guess could mean to be refused as stale by every peer.
    """
    path = state_dir / BOOT_FILE
    document = read_document(path) or {"boot_seq": 0}
    stored = document.get("boot_seq")
    if type(stored) is not int or stored < 0:
        raise ConfigError([f"{path}: boot_seq is not a number; remove the file"])
    claimed = next_boot_seq(stored, unix_now)
    write_document(path, {"boot_seq": claimed})
    return claimed


def draw_instance() -> Instance:
    """Return 16 random bytes for this process."""
    return Instance(os.urandom(INSTANCE_BYTES))
