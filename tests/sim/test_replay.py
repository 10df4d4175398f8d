"""A run is played again to the byte: by the same seed, whatever the process and its hash seed."""

import json
import os
import subprocess
import sys

from cli.exit_codes import Exit
from fabric.testing.sim import SCENARIOS

ASKED = ["sim", "--nodes", "12", "--loss", "0.1", "--seed", "7", "--json"]
SHORT = ["--cut", "10", "--flood", "1"]


def printed(hash_seed: str) -> bytes:
    result = subprocess.run(
        [sys.executable, "-m", "cli.fabricctl", *ASKED, *SHORT],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        timeout=120,
    )
    assert result.returncode in (Exit.YES, Exit.NO), result.stderr.decode()
    assert not result.stderr
    return result.stdout


def test_the_same_seed_prints_the_same_bytes_whatever_the_hash_seed() -> None:
    found = printed("1")

    assert json.loads(found)["scenarios"].keys() == SCENARIOS.keys()
    assert found == printed("2")
