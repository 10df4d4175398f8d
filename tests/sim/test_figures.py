"""What a hundred nodes have promised, over as many seeds as FABRIC_SIM_SEEDS asks for."""

import json
import os
import subprocess
import sys

import pytest

SEEDS = os.environ.get("FABRIC_SIM_SEEDS", "3")

pytestmark = pytest.mark.figures


@pytest.mark.parametrize(
    "asked",
    [
        ("wave", "--loss", "0.05"),
        ("partition", "--loss", "0.05", "--cut", "600"),
        ("death", "--loss", "0.1"),
        ("pause", "--loss", "0.1"),
        ("restarts", "--loss", "0.1", "--skew", "3600"),
        ("steady", "--loss", "0.05"),
    ],
    ids=lambda asked: asked[0],
)
def test_a_hundred_nodes_keep_what_was_promised(asked) -> None:
    command = [sys.executable, "-m", "cli.fabricctl", "sim", "--nodes", "100", "--seeds", SEEDS]

    result = subprocess.run([*command, "--json", "--scenario", *asked], capture_output=True)

    assert result.stdout, result.stderr.decode()
    lines = json.loads(result.stdout)["scenarios"][asked[0]]
    assert [each for each in lines if each["holds"] is False] == []
