"""The benchmark's arithmetic and paper: which way a ratio points, what is told when missing."""

import json

import pytest

from tests.bench import __main__ as command
from tests.bench import catalogue
from tests.bench.contender import Contender, take_turns
from tests.bench.load import latencies
from tests.bench.processes import DidNotStart
from tests.bench.prototype import Run
from tests.bench.report import (
    ALLOWED,
    NOBODY,
    OURS,
    Figure,
    Reading,
    entries,
    number,
    ratio,
    table,
    write_json,
)

RATE = Figure("path.rate", "MB/s", wanted={"rival": 2})
DELAY = Figure("path.delay", "us", less_is_better=True)


def read(figure, **values):
    return [
        Reading(OURS if who == "ours" else who, figure.name, value)
        for who, taken in values.items()
        for value in taken
    ]


def test_a_ratio_above_one_means_better_for_more_and_for_less():
    assert ratio(RATE, 200.0, 100.0) == 2
    assert ratio(DELAY, 100.0, 200.0) == 2
    assert ratio(DELAY, 200.0, 100.0) == 0.5


@pytest.mark.parametrize(("ours", "theirs"), [(None, 1.0), (1.0, None), (1.0, 0.0)])
def test_a_rate_that_is_missing_or_nothing_has_no_ratio(ours, theirs):
    assert ratio(RATE, ours, theirs) is None


def test_a_delay_of_nothing_has_no_ratio():
    assert ratio(DELAY, 0.0, 1.0) is None


def test_an_entry_compares_medians_so_one_bad_round_changes_nothing():
    readings = read(RATE, ours=[100.0, 300.0, 9000.0], rival=[1.0, 100.0, 200.0])
    (row,) = entries([RATE], readings, {})
    assert (row.value, row.rival_value, row.ratio) == (300, 100, 3)


def test_each_rival_has_an_entry_of_its_own_and_we_are_none():
    rows = entries([DELAY], read(DELAY, ours=[5.0], a=[10.0], b=[1.0]), {"b": "in the kernel"})
    assert [(row.rival, row.ratio, row.note) for row in rows] == [
        ("a", 2, ""),
        ("b", 0.2, "in the kernel"),
    ]


def test_a_figure_of_ours_is_told_of_even_where_no_rival_could_be_measured():
    (entry,) = entries([RATE], [Reading(OURS, "path.rate", 5.0)], {})
    assert (entry.value, entry.rival, entry.rival_value, entry.ratio) == (5.0, NOBODY, None, None)


def test_a_rival_is_told_of_even_where_ours_was_not_measured():
    (row,) = entries([RATE], read(RATE, rival=[7.0]), {})
    assert (row.value, row.rival_value, row.ratio, row.note) == (None, 7, None, "")


def test_a_note_says_whether_the_wanted_ratio_is_reached():
    (reached,) = entries([RATE], read(RATE, ours=[4.0], rival=[2.0]), {})
    (short,) = entries([RATE], read(RATE, ours=[3.0], rival=[2.0]), {"rival": "x"})
    assert reached.note == "reached: 2 wanted"
    assert short.note == "SHORT: 2 wanted; x"


def test_a_limit_stands_as_a_rival_of_its_own():
    limited = Figure("node.memory", "MB", less_is_better=True, allowed=60)
    (row,) = entries([limited], read(limited, ours=[80.0]), {})
    assert (row.rival, row.rival_value, row.ratio) == (ALLOWED, 60, 0.75)
    assert row.note.startswith("SHORT")


def test_the_file_is_a_list_of_objects_with_null_for_what_is_missing(tmp_path):
    rows = entries([RATE], read(RATE, rival=[1 / 3]), {})
    write_json(tmp_path / "bench.json", rows)
    assert json.loads((tmp_path / "bench.json").read_text()) == [
        {
            "name": "path.rate",
            "unit": "MB/s",
            "value": None,
            "rival": "rival",
            "rival_value": 0.33333,
            "ratio": None,
            "note": "",
        }
    ]


def test_the_table_names_a_figure_once_and_aligns_its_columns():
    rows = entries([RATE], read(RATE, ours=[1234.0], a=[600.0], longer=[1.0]), {})
    title, first, second = table(rows, {}).splitlines()
    assert first.startswith("path.rate  MB/s")
    assert second.startswith(" ")
    for text, line in (("1,234", first), ("600", first)):
        assert line.index(text) + len(text) in {
            title.index(OURS) + len(OURS),
            title.index("rival's") + len("rival's"),
        }
    assert second.index("longer") == first.index("a  ") == title.index("rival ")


def test_the_table_tells_what_is_special_of_a_rival_once_below():
    notes = {"a": "in the kernel", "absent": "x"}
    readings = [*read(RATE, ours=[1.0], a=[1.0]), *read(DELAY, ours=[1.0], a=[1.0])]
    lines = table(entries([RATE, DELAY], readings, notes), notes).splitlines()
    assert lines[-1] == "a: in the kernel"
    assert sum("kernel" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0"), (0.45678, "0.457"), (12.345, "12.3"), (99999.0, "99,999")],
)
def test_numbers_keep_three_digits_that_mean_something(value, text):
    assert number(value) == text


def test_names_of_figures_are_matched_by_their_start_or_by_a_pattern():
    assert {figure.name for figure in catalogue.matching("quic.bulk")} == {
        "quic.bulk_1452",
        "quic.bulk_1200",
    }
    assert {figure.name for figure in catalogue.matching("*.p50_*")} == {
        "ingress.p50_1",
        "ingress.p50_32",
    }


def test_no_figure_is_named_twice():
    names = [figure.name for figure in catalogue.FIGURES]
    assert len(set(names)) == len(names)


def test_contenders_take_turns_and_one_that_fails_spoils_no_other():
    said, turns = [], []

    def good(wanted, seconds):
        turns.append("good")
        yield from (Reading("good", figure, seconds) for figure in sorted(wanted))

    def bad(wanted, seconds):
        turns.append("bad")
        raise DidNotStart("no such port")
        yield

    both = [Contender("good", frozenset({"x", "y"}), good), Contender("bad", frozenset("x"), bad)]
    taken = list(take_turns(both, {"x"}, rounds=2, seconds=0.5, say=said.append))
    assert turns == ["good", "bad", "good", "bad"]
    assert taken == [Reading("good", "x", 0.5)] * 2
    assert sum("no such port" in line for line in said) == 2


def test_a_contender_compared_with_itself_alone_may_ask_for_fewer_rounds():
    def once(wanted, seconds):
        yield Reading(OURS, "x", 1.0)

    alone = [Contender(OURS, frozenset("x"), once, rounds=1)]
    assert len(list(take_turns(alone, {"x"}, rounds=3, seconds=1, say=lambda _: None))) == 1


def test_a_rival_that_is_not_installed_is_named_with_its_remedy(capsys):
    absent = Contender("ghost", frozenset("x"), lambda *_: (), lambda: "apt-get install ghost")
    assert command.installed([absent], {"x"}) == []
    assert "without ghost: apt-get install ghost" in capsys.readouterr().err


def test_nobody_is_named_missing_for_figures_that_nobody_asked_for(capsys):
    absent = Contender("ghost", frozenset("x"), lambda *_: (), lambda: "apt-get install ghost")
    assert command.installed([absent], {"y"}) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments", [["--only", "nonsense"], ["--rounds", "0"], ["--seconds=-1"]]
)
def test_a_wrong_option_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        command.parse(arguments)
    assert exit_.value.code == 2
    assert "error" in capsys.readouterr().err


def test_a_path_that_answered_nothing_has_no_latency_rather_than_none():
    assert latencies([]) == {}
    assert latencies([3e-6, 1e-6, 2e-6]) == {"p50_us": 2.0, "p99_us": 3.0}


def test_the_prototype_is_given_work_for_the_seconds_and_its_print_is_read(tmp_path):
    run = Run("quic.bulk_1452", "bulk.py 1452 {}", 500, r"([\d.]+) MB/s")
    assert run.command(tmp_path, 0.5)[1:] == [f"{tmp_path}/bulk.py", "1452", "250"]
    assert run.read("qh3 size 1452: 635.1 MB/s  sendmsg 9\n") == 635.1
    with pytest.raises(ValueError, match="printed no figure: Traceback"):
        run.read("Traceback")
