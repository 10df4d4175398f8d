"""What trust remembers of its verdicts: each envelope is verified once, in bounded memory."""

import itertools

import pytest

from fabric.codes import Code
from fabric.core import trust as trust_module
from fabric.core.clocks import Times
from fabric.core.records import NodeRecord, Role
from fabric.core.trust import MOST_VERDICTS, Accepted, Rejected, Standing, Trust
from fabric.testing.records import BORN, AFabric, public, signed, some_records

FABRIC = AFabric()
NOW = Times(BORN)
DIRECTORY, HOME_KEY = FABRIC.keys(Role.DIRECTORY), FABRIC.node_key("home-1")
NODE_KEYS = {FABRIC.node_id(name): public(FABRIC.node_key(name)) for name in ("home-1", "away-1")}


def a_trust(**root):
    return Trust(FABRIC.id, FABRIC.signed(FABRIC.root(**root)))


def judged(envelope, trust=None, *, now=NOW):
    return (trust or a_trust()).judge(envelope, now, key_of=NODE_KEYS.get)


def counted(monkeypatch):
    calls = itertools.count()
    real = trust_module.signers_of

    def counting(*arguments):
        next(calls)
        return real(*arguments)

    monkeypatch.setattr(trust_module, "signers_of", counting)
    return lambda: next(calls)


@pytest.mark.parametrize("key", [DIRECTORY[0], HOME_KEY], ids=["good", "self-authored"])
def test_an_envelope_is_verified_once(monkeypatch, key):
    trust, envelope = a_trust(), signed(FABRIC.node("home-1"), key)
    verifications = counted(monkeypatch)

    verdicts = [judged(envelope, trust) for _ in range(3)]

    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert verifications() == 1


def test_a_remembered_verdict_gets_no_older_than_its_record():
    trust, envelope = a_trust(), FABRIC.signed(FABRIC.node("home-1"))
    record = judged(envelope, trust).record

    def standing(now):
        return judged(envelope, trust, now=Times(now)).standing

    assert standing(record.expires_at - 1) is Standing.LIVE
    assert standing(record.expires_at) is Standing.GRACE
    assert standing(record.expires_at - 1) is Standing.LIVE


def test_a_verdict_is_remembered_for_one_set_of_signatures_only():
    trust, node = a_trust(), FABRIC.node("home-1")
    assert isinstance(judged(signed(node, DIRECTORY[0]), trust), Accepted)

    verdict = judged(signed(node, HOME_KEY), trust)
    assert isinstance(verdict, Rejected)
    assert (verdict.code, verdict.is_attack) == (Code.SELF_AUTHORED, True)


def test_memory_is_bounded_and_keeps_what_was_asked_for_last(monkeypatch):
    monkeypatch.setattr(trust_module, "MOST_VERDICTS", 8)
    trust, often = a_trust(), FABRIC.signed(FABRIC.node("home-1"))
    judged(often, trust)
    verifications = counted(monkeypatch)
    for generation in range(2, 20):
        judged(FABRIC.signed(FABRIC.node("away-1", generation=generation)), trust)
        judged(often, trust)

    assert MOST_VERDICTS == 16_384
    assert len(trust._verdicts) == 8
    assert verifications() == 18


def test_what_is_remembered_holds_no_record():
    trust = a_trust()
    judged(FABRIC.signed(FABRIC.node("home-1")), trust)

    assert list(trust._verdicts._kept.values()) == [None]


@pytest.mark.parametrize("record", some_records(FABRIC), ids=lambda each: each.KIND)
def test_a_judgement_is_the_same_from_memory(record):
    trust = a_trust(first_epoch=0, last_epoch=1)
    now = Times(BORN + 60)
    first = judged(FABRIC.signed(record), trust, now=now)

    assert judged(FABRIC.signed(record), trust, now=now) == first


def test_a_node_record_tells_the_key_by_which_its_words_are_judged():
    record = judged(FABRIC.signed(FABRIC.node("home-1"))).record

    assert isinstance(record, NodeRecord)
    assert record.key_bytes == NODE_KEYS[FABRIC.node_id("home-1")]
