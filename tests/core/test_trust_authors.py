"""Who may say what: each kind by its author alone, whoever else signs it, and however many."""

import pytest

from fabric.codes import Code
from fabric.core.clocks import Times
from fabric.core.kinds import KINDS
from fabric.core.records import NODE, Role, TrustRoot
from fabric.core.trust import Accepted, Rejected, Trust
from fabric.testing.records import BORN, AFabric, public, signed, some_bare_records

FABRIC = AFabric()
TRUST = Trust(FABRIC.id, FABRIC.signed(FABRIC.root()))
NODE_KEYS = {FABRIC.node_id(name): public(FABRIC.node_key(name)) for name in ("home-1", "away-1")}
RECORDS = [
    FABRIC.root(version=2) if record.KIND == TrustRoot.KIND else record
    for record in some_bare_records(FABRIC)
]

every_record = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.KIND)


def judged(record, *keys):
    return TRUST.judge(signed(record, *keys), Times(BORN), key_of=NODE_KEYS.get)


def test_every_kind_there_is_is_among_them():
    assert {record.KIND for record in RECORDS} == set(KINDS)


@pytest.mark.parametrize("role", Role)
@every_record
def test_all_keys_of_a_role_together_sign_nothing_of_another(record, role):
    verdict = judged(record, *FABRIC.keys(role))

    if role in record.authors:
        assert isinstance(verdict, Accepted)
    else:
        assert isinstance(verdict, Rejected)
        assert verdict.code is Code.WRONG_AUTHOR


@every_record
def test_all_keys_that_are_not_its_authors_together_do_not_sign_it(record):
    others = [role for role in Role if role not in record.authors]
    keys = [key for role in others for key in FABRIC.keys(role)]
    nodes = [] if record.AUTHOR == NODE else [FABRIC.node_key("home-1"), FABRIC.node_key("away-1")]

    assert isinstance(judged(record, *keys, *nodes), Rejected)
