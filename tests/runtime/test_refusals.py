"""The limit on refusals in the log."""

import trio
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.runtime.metrics import Metrics
from fabric.runtime.refusals import RefusalLog


def test_a_flood_of_refusals_writes_ten_lines_a_minute_and_one_summary():
    refusals = RefusalLog(metrics := Metrics())
    with capture_logs() as entries:
        for tenth in range(1200):  # two minutes, ten a second
            refusals.refused("hello.refused", Code.UNKNOWN_KEY, tenth / 10, peer="stranger")
        refusals.flush(120.0)
    told = [entry["event"] for entry in entries]
    minute = ["hello.refused"] * 10 + ["log.suppressed"]
    assert told == minute * 2
    assert [entry["lines"] for entry in entries if "lines" in entry] == [590, 590]
    assert metrics.log_lines_suppressed.series == {(Code.UNKNOWN_KEY,): 1180}


def test_one_code_does_not_silence_another():
    refusals = RefusalLog(Metrics())
    with capture_logs() as entries:
        for _ in range(50):
            refusals.refused("hello.refused", Code.UNKNOWN_KEY, 0.0)
        refusals.refused("hello.refused", Code.BAD_PROOF, 0.0)
    assert entries[-1]["code"] is Code.BAD_PROOF
    assert entries[-1]["remedy"] == Code.BAD_PROOF.remedy


async def test_the_summary_comes_though_no_refusal_follows(autojump_clock):
    refusals = RefusalLog(Metrics())
    with capture_logs() as entries, trio.move_on_after(130):
        for _ in range(11):
            refusals.refused("hello.refused", Code.UNKNOWN_KEY, trio.current_time())
        await refusals.run()
    assert [entry["event"] for entry in entries[10:]] == ["log.suppressed"]
