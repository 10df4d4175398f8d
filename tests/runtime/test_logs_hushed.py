"""A program that imports the fabric and set up no logging prints what it means to, and no more."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import structlog
from fabric.runtime.logs import hush
{before}
hush()
structlog.get_logger().info("node.ready")
structlog.get_logger().warning("peer.refused")
"""


def run(before=""):
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)


def test_a_library_user_hears_warnings_alone_and_not_on_stdout():
    done = run()
    assert done.stdout == ""
    assert "peer.refused" in done.stderr
    assert "node.ready" not in done.stderr


def test_a_program_with_logging_of_its_own_keeps_it():
    done = run("structlog.configure()")
    assert "node.ready" in done.stdout
