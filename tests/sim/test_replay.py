"""A run is played again to the byte: by the same seed, whatever the process and its hash seed."""

import os
import subprocess
import sys

import pytest

ASKED = ["sim", "--nodes", "12", "--loss", "0.1", "--seed", "7", "--json"]


def printed(hash_seed: str, *options: str) -> bytes:
    result = subprocess.run(
        [sys.executable, "-m", "cli.fabricctl", *ASKED, *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


SHORT = ("--scenario", "wave", "--scenario", "restarts", "--scenario", "death")


def test_the_same_seed_prints_the_same_bytes_whatever_the_hash_seed() -> None:
    assert printed("1", *SHORT) == printed("2", *SHORT)


@pytest.mark.figures
def test_every_scenario_is_played_again_to_the_byte() -> None:
    every = ("--scenario", "flood", "--scenario", "partition", "--scenario", "pause", *SHORT)

    assert printed("1", *every) == printed("2", *every)
