"""The driver's README tells no lies: its program runs as pasted, its files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fabric.trio_quic
from fabric.testing.quic import an_identity

HERE = Path(fabric.trio_quic.__file__).parent
README = (HERE / "README.md").read_text()


@pytest.fixture
def folder(tmp_path):
    identity = an_identity(7).identity
    (tmp_path / "cert.pem").write_bytes(identity.certificate_pem)
    (tmp_path / "key.pem").write_bytes(identity.key_pem)
    return tmp_path


def test_the_first_program_works_as_pasted(folder):
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len([line for line in program.splitlines() if line.strip()]) <= 24
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(HERE.parent.parent)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.stdout == f"HELLO from {an_identity(7).public.hex()[:8]}\n"


def test_every_module_has_its_place_in_the_table():
    named = set(re.findall(r"`(\w+\.py)`", README.partition("Where things are")[2]))
    assert named == {path.name for path in HERE.glob("*.py")} - {"__init__.py"}
