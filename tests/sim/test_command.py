"""``fabricctl sim`` as typed: its table, its JSON, its exit codes."""

import json

import pytest

from cli import fabricctl
from cli.ctl import sim
from cli.exits import finish
from fabric.testing.sim import SCENARIOS, Line, Unit

FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""A test runner may have threads; the command has none."""


def typed(*words: str, nodes: int = 8) -> int:
    return finish(fabricctl.app, ["sim", "--nodes", str(nodes), *words])


@FORKS
def test_a_table_names_what_is_promised_and_whether_it_holds(capsys) -> None:
    assert typed("--scenario", "wave", "--loss", "0.1", "--seed", "3") == 0

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "8 nodes, 10 % loss, 20 to 80 ms one way, seed 3"
    assert printed[2].split() == ["WAVE", "FOUND", "TARGET"]
    row = next(line for line in printed if line.startswith("all do"))
    assert row.split()[2:] == [row.split()[2], "s", "<", "2.00", "s", "ok"]


@FORKS
@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each != "flood"])
def test_every_scenario_says_what_it_cost_each_node(capsys, scenario) -> None:
    typed("--scenario", scenario, "--cut", "5", "--json")

    found = json.loads(capsys.readouterr().out)["scenarios"][scenario]
    values = {each["figure"]: each["p50"] for each in found}
    seconds, messages = values["all of it took"], values["messages sent per node in it"]
    assert messages > seconds / 2, "every second node probes, once a second"
    assert values["bytes sent per node in it"] > 40 * messages


@FORKS
def test_a_terminal_is_told_what_is_being_played_and_a_pipe_is_not(capsys, monkeypatch) -> None:
    typed("--scenario", "wave")
    assert not capsys.readouterr().err

    monkeypatch.setenv("FORCE_COLOR", "1")
    typed("--scenario", "wave", "--seed", "3")
    assert "playing wave, seed 3" in capsys.readouterr().err


@FORKS
def test_a_target_that_is_missed_says_no(capsys) -> None:
    assert typed("--scenario", "wave", "--delay", "400-499", "--json", nodes=18) == 1

    document = json.loads(capsys.readouterr().out)
    lines = {each["figure"]: each for each in document["scenarios"]["wave"]}
    assert lines["99 % do"]["holds"] is False
    assert lines["99 % do"]["p99"] > lines["99 % do"]["below"]
    assert document["delay_ms"] == [400, 499]


@pytest.mark.parametrize(
    "words",
    [
        ("--scenario", "picnic"),
        ("--delay", "fast"),
        ("--delay", "80-20"),
        ("--loss", "1"),
        ("--nodes", "3"),
        ("--seeds", "0"),
    ],
)
def test_what_cannot_be_meant_is_refused(words) -> None:
    assert typed(*words) == 2


def test_what_never_came_is_told_so_in_words_and_as_null() -> None:
    line = Line("all do", Unit.SECONDS, 1.0, float("inf"), float("inf"), 4, 2.0, None)

    assert sim._cell(line.worst, line.unit) == "never"
    assert sim._row(line)["worst"] is None
    assert line.holds is False
