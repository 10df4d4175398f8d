"""How a command ends when nobody reads on."""

import os
import subprocess
import sys

import pytest

from cli.exits import PIPE_CLOSED


@pytest.mark.parametrize("asked", [["sim", "--nodes", "4", "--scenario", "wave"], ["nodes"]])
def test_whoever_reads_no_further_gets_no_traceback(asked, tmp_path):
    """Of an answer, and of a refusal: there is no fabric here."""
    reads, writes = os.pipe()
    os.close(reads)
    ran = subprocess.run(
        [sys.executable, "-m", "cli.fabricctl", *asked, "--json"],
        stdout=writes,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        timeout=60,
    )
    os.close(writes)
    assert (ran.returncode, ran.stderr) == (PIPE_CLOSED, b"")
