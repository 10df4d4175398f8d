"""From one trust root to the next: who has to sign, and that no record is lost on the way."""

from __future__ import annotations

import shutil
from itertools import count

import pytest

from fabric.core.codec.envelopes import envelope_from_json
from fabric.core.codec.records import decode_record
from fabric.core.records import DAY, Key, KeyState, Role, key_id_of
from fabric.net.tls import NodeKey
from services.authority import About, Authority, AuthorityError, Change, Grant, Quorum, ledger
from services.authority.keys import active, read_key
from services.authority.rotation import is_signed, missing
from services.authority.succession import countersign

NOW = 1_800_000_000
OPEN = Grant(offer_by=("any",), open_to=("any",))


def drawn():
    """Entropy that is the same every time, and never twice."""
    numbers = count(1000)
    return lambda size: next(numbers).to_bytes(size)


def a_key(number):
    return NodeKey.from_seed(number.to_bytes(32))


def record_of(envelope):
    return decode_record(envelope.payload)


def make(path, **quorums):
    asked = {Role.ROOT: Quorum(1, 1), Role.DIRECTORY: Quorum(1, 1)} | {
        Role(role): Quorum.parse(text) for role, text in quorums.items()
    }
    return Authority.create(path, now=NOW, quorums=asked, draw=drawn())


@pytest.fixture
def authority(tmp_path):
    with make(tmp_path / "fab") as made:
        made.add_node("home-1", a_key(1).public, About(area="home"), now=NOW)
        made.add_service("web", OPEN, now=NOW)
        made.add_service("gone", OPEN, now=NOW)
        made.revoke(Key("service", "gone"), now=NOW)
        yield made


def only(authority, role):
    (key_id,) = active(authority.root, role)
    return key_id


# -- a new directory key --
def test_after_a_rekey_the_old_key_is_retired_and_the_new_one_acts(authority):
    old = only(authority, Role.DIRECTORY)
    done = authority.rekey(now=NOW)
    assert authority.root.version == 2
    assert authority.root.keys[old].state is KeyState.RETIRED
    assert only(authority, Role.DIRECTORY) != old
    assert done.missing == ()
    assert (authority.folder.keys / "directory-2.key").exists()


def test_every_record_and_living_tombstone_counts_before_and_after_a_rekey(authority):
    before = authority.root
    generations = {record_of(each).key: record_of(each).generation for each in authority.records()}
    done = authority.rekey(now=NOW + DAY)
    assert len(authority.records()) == 3
    for envelope in authority.records():
        record = record_of(envelope)
        assert record.generation == generations[record.key] + 1
        assert is_signed(envelope, before, Role.DIRECTORY)
        assert is_signed(envelope, authority.root, Role.DIRECTORY)
    assert [path.name for path in done.to_publish] == [
        path.name for path in (*done.signed_again, authority.folder.root_version(2))
    ]
    assert len(done.signed_again) == 3


def test_a_tombstone_that_is_signed_again_lasts_no_shorter(authority):
    before = record_of(authority.records()[1])
    authority.rekey(now=NOW + DAY)
    after = record_of(authority.records()[1])
    assert (before.revoked, after.revoked) == (True, True)
    assert after.expires_at == before.expires_at


def test_a_compromised_key_alone_signs_nothing_any_more(authority):
    old = only(authority, Role.DIRECTORY)
    authority.rekey(now=NOW, compromised=True)
    assert authority.root.keys[old].state is KeyState.COMPROMISED
    for envelope in authority.records():
        assert is_signed(envelope, authority.root, Role.DIRECTORY)


def test_a_rekey_whose_old_key_is_lost_hands_out_the_root_first(authority):
    authority.close()
    (authority.folder.keys / "directory-1.key").unlink()
    with Authority.open(authority.folder.path) as again:
        done = again.rekey(now=NOW, compromised=True)
        assert not done.records_first
        assert done.to_publish[0] == again.folder.root_version(2)
        assert all(is_signed(each, again.root, Role.DIRECTORY) for each in again.records())


def test_of_two_directory_keys_one_has_to_be_named(tmp_path):
    with make(tmp_path / "fab", directory="1/2") as made:
        made.add_service("web", OPEN, now=NOW)
        with pytest.raises(AuthorityError) as refused:
            made.rekey(now=NOW)
        assert refused.value.code == "ambiguous_key"
        key = made.keys.find("directory-2", made.root)
        made.rekey(now=NOW, key=key)
        assert made.root.keys[key].state is KeyState.RETIRED
        assert len(active(made.root, Role.DIRECTORY)) == 2


def test_a_key_that_acts_for_another_role_is_not_rekeyed(authority):
    with pytest.raises(AuthorityError) as refused:
        authority.rekey(now=NOW, key=only(authority, Role.ROOT))
    assert refused.value.code == "unknown_key_id"


def test_a_rekey_that_was_broken_off_is_finished_by_the_same_call(authority, monkeypatch):
    def broken(*_):
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "take_root", broken)
        with pytest.raises(OSError, match="power"):
            authority.rekey(now=NOW)
    authority.close()
    with Authority.open(authority.folder.path) as again:
        assert again.root.version == 1
        halfway = again.records()
        assert all(is_signed(each, again.root, Role.DIRECTORY) for each in halfway)
        again.rekey(now=NOW)
        assert not (again.folder.keys / "directory-3.key").exists()
        assert again.records() == halfway
        assert all(is_signed(each, again.root, Role.DIRECTORY) for each in halfway)


def test_root_json_follows_the_newest_root_after_a_crash(authority):
    first = authority.folder.root_file.read_bytes()
    authority.rekey(now=NOW)
    second = authority.folder.root_file.read_bytes()
    authority.close()
    authority.folder.root_file.write_bytes(first)
    with Authority.open(authority.folder.path):
        assert authority.folder.root_file.read_bytes() == second


# -- a new root, of one holder --
def test_without_a_change_the_next_root_renews_its_dates(authority):
    before = authority.root
    done = authority.rotate_root(Change(), now=NOW + 365 * DAY)
    assert done.signed_again == ()
    assert authority.root.version == 2
    assert authority.root.expires_at == before.expires_at + 365 * DAY
    assert (authority.root.keys, authority.root.roles) == (before.keys, before.roles)


def test_a_root_key_is_replaced_by_the_signatures_of_both(authority):
    before, old = authority.root, only(authority, Role.ROOT)
    change = Change(add=((Role.ROOT, None),), retire=(old,))
    authority.rotate_root(change, now=NOW)
    envelope = authority.roots()[-1]
    new = only(authority, Role.ROOT)
    assert new != old
    assert {each.key_id for each in envelope.signatures} == {old, new}
    assert missing(before, authority.root, envelope) == ()
    assert all(is_signed(each, authority.root, Role.DIRECTORY) for each in authority.records())


def test_a_replicas_directory_key_is_added_and_signs_nothing_here(authority):
    public = a_key(77).public
    before = authority.records()
    authority.rotate_root(Change(add=((Role.DIRECTORY, public),)), now=NOW)
    assert key_id_of(public) in active(authority.root, Role.DIRECTORY)
    assert authority.records() == before


@pytest.mark.parametrize("role", [Role.ROOT, Role.DIRECTORY])
def test_the_last_key_of_a_role_cannot_just_go(authority, role):
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(Change(retire=(only(authority, role),)), now=NOW)
    assert refused.value.code == "threshold_out_of_reach"
    assert authority.root.version == 1


def test_a_threshold_that_the_keys_cannot_meet_is_refused(authority):
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(Change(thresholds={Role.DIRECTORY: 2}), now=NOW)
    assert refused.value.code == "threshold_out_of_reach"


@pytest.mark.parametrize("public", [bytes(32), b"short"])
def test_what_is_no_key_is_not_added(authority, public):
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(Change(add=((Role.DIRECTORY, public),)), now=NOW)
    assert refused.value.code == "bad_key"


def test_a_key_that_the_root_names_is_not_added_again(authority):
    public = authority.root.keys[only(authority, Role.ROOT)].key
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(Change(add=((Role.DIRECTORY, public),)), now=NOW)
    assert refused.value.code == "key_known"


def test_a_compromised_key_does_not_become_merely_retired(authority):
    old = only(authority, Role.DIRECTORY)
    authority.rekey(now=NOW, compromised=True)
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(Change(retire=(old,)), now=NOW)
    assert refused.value.code == "key_compromised"


def test_two_keys_are_drawn_where_two_are_asked_for(authority):
    change = Change(add=((Role.INTENT, None), (Role.INTENT, None)), thresholds={Role.INTENT: 2})
    authority.rotate_root(change, now=NOW)
    assert len(active(authority.root, Role.INTENT)) == 2
    assert authority.root.roles[Role.INTENT].threshold == 2


def test_at_most_eight_root_keys_act(authority):
    change = Change(add=((Role.ROOT, None),) * 8)
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(change, now=NOW)
    assert refused.value.code == "too_many_root_keys"


# -- epochs --
def test_after_the_next_epoch_is_opened_records_are_signed_in_it(authority):
    authority.rotate_root(Change(epoch=3), now=NOW)
    record = record_of(authority.add_service("web", Grant(open_to=("any",)), now=NOW))
    assert record.order == (3, 2)
    assert record_of(authority.records()[0]).epoch == 0


def test_closing_an_epoch_signs_what_was_signed_in_it_again(authority):
    done = authority.rotate_root(Change(epoch=1, first_epoch=1), now=NOW)
    assert len(done.signed_again) == 3
    assert {record_of(each).order[0] for each in authority.records()} == {1}
    assert done.to_publish[0] == authority.folder.root_version(2)


@pytest.mark.parametrize("change", [Change(epoch=1), Change(first_epoch=4), Change(first_epoch=1)])
def test_epochs_go_forward_only(authority, change):
    authority.rotate_root(Change(epoch=3, first_epoch=2), now=NOW)
    with pytest.raises(AuthorityError) as refused:
        authority.rotate_root(change, now=NOW)
    assert refused.value.code == "epoch_goes_back"


# -- keys on different machines --
@pytest.fixture
def apart(tmp_path):
    """An authority whose root takes two of three keys, of which one is here and two are not."""
    with make(tmp_path / "here", root="2/3") as made:
        made.add_service("web", OPEN, now=NOW)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    (tmp_path / "here" / "keys" / "root-2.key").unlink()
    (tmp_path / "here" / "keys" / "root-3.key").unlink()
    (tmp_path / "there" / "keys" / "root-1.key").unlink()
    return tmp_path / "here", tmp_path / "there"


def test_a_root_without_enough_signatures_is_proposed_and_not_in_force(apart):
    here, _ = apart
    with Authority.open(here) as authority:
        done = authority.rotate_root(Change(), now=NOW)
        assert done.file == here / "roots" / "0002.proposed.json"
        assert [(one.version, one.count) for one in done.missing] == [(1, 1), (2, 1)]
        assert len(done.missing[0].keys) == 2
        assert done.to_publish == ()
        assert authority.root.version == 1
    assert envelope_from_json((here / "root.json").read_text()) == authority.roots()[0]


def test_with_the_other_holders_signature_it_is_taken_at_both_ends(apart, tmp_path):
    here, there = apart
    with Authority.open(here) as authority:
        proposal = authority.rotate_root(Change(), now=NOW).file
    travels = tmp_path / "travels.json"
    shutil.copy(proposal, travels)
    with Authority.open(there) as other:
        assert other.sign_root(travels, now=NOW).missing == ()
        assert other.root.version == 2
    with Authority.open(here) as authority:
        done = authority.sign_root(travels, now=NOW)
        assert done.missing == ()
        assert authority.root.version == 2
        assert not proposal.exists()
        assert authority.sign_root(travels, now=NOW).missing == ()
    assert (here / "root.json").read_bytes() == (there / "root.json").read_bytes()


def test_a_rekey_with_the_root_keys_elsewhere_signs_again_only_once_it_is_taken(apart, tmp_path):
    here, there = apart
    with Authority.open(here) as authority:
        before = authority.records()
        proposal = authority.rekey(now=NOW).file
        assert authority.records() == before
        late = authority.add_service("late", OPEN, now=NOW)
    travels = tmp_path / "travels.json"
    shutil.copy(proposal, travels)
    with Authority.open(there) as other, pytest.raises(AuthorityError, match="0 of the 1 dir"):
        other.sign_root(travels, now=NOW)  # the new directory key is not there
    shutil.copy(here / "keys" / "directory-2.key", there / "keys")
    with Authority.open(there) as other:
        other.sign_root(travels, now=NOW)
    with Authority.open(here) as authority:
        authority.sign_root(travels, now=NOW)
        assert late not in authority.records()
        assert all(is_signed(one, authority.root, Role.DIRECTORY) for one in authority.records())


def test_signatures_made_on_two_copies_are_put_together(tmp_path):
    here, copies = tmp_path / "here", []
    with make(here, root="3/3") as authority:
        pass
    for number in (2, 3):
        away = tmp_path / f"root-{number}.key"
        (here / "keys" / away.name).rename(away)
        copies.append((tmp_path / f"copy-{number}.json", read_key(away)))
    with Authority.open(here) as authority:
        proposal = authority.rotate_root(Change(), now=NOW).file
        for copy, key in copies:
            shutil.copy(proposal, copy)
            countersign(copy, [key])
        (first, _), (second, _) = copies
        assert [one.count for one in authority.sign_root(first, now=NOW).missing] == [1, 1]
        assert authority.sign_root(second, now=NOW).missing == ()
        assert authority.root.version == 2


def test_a_root_that_would_leave_records_unsigned_here_is_not_even_proposed(apart):
    here, _ = apart
    with Authority.open(here) as authority:
        foreign, old = a_key(77).public, only(authority, Role.DIRECTORY)
        change = Change(add=((Role.DIRECTORY, foreign),), retire=(old,))
        with pytest.raises(AuthorityError, match="0 of the 1 directory keys"):
            authority.rotate_root(change, now=NOW)
        assert not authority.folder.proposed(2).exists()


def test_a_second_proposal_of_one_version_is_refused(apart):
    here, _ = apart
    with Authority.open(here) as authority:
        authority.rotate_root(Change(), now=NOW)
        with pytest.raises(AuthorityError) as refused:
            authority.rotate_root(Change(epoch=1), now=NOW)
        assert refused.value.code == "root_conflict"


def test_a_holder_does_not_sign_two_roots_of_one_version(apart):
    here, there = apart
    with Authority.open(here) as authority:
        one = authority.rotate_root(Change(), now=NOW).file
    (there / "keys" / "root-3.key").unlink()
    with Authority.open(there) as other:
        other.rotate_root(Change(epoch=1), now=NOW)
        with pytest.raises(AuthorityError) as refused:
            other.sign_root(one, now=NOW)
        assert refused.value.code == "root_conflict"


def test_a_root_that_does_not_follow_is_not_signed(authority, tmp_path):
    copy = tmp_path / "copy"
    authority.close()
    shutil.copytree(authority.folder.path, copy)
    with Authority.open(copy) as ahead:
        ahead.rotate_root(Change(), now=NOW)
        third = ahead.rotate_root(Change(), now=NOW).file
    with Authority.open(authority.folder.path) as behind:
        with pytest.raises(AuthorityError) as refused:
            behind.sign_root(third, now=NOW)
        assert refused.value.code == "root_not_consecutive"


def test_a_root_of_another_fabric_is_not_signed(authority, tmp_path):
    with Authority.create(tmp_path / "other", now=NOW) as other:
        theirs = other.rotate_root(Change(), now=NOW).file
    with pytest.raises(AuthorityError) as refused:
        authority.sign_root(theirs, now=NOW)
    assert refused.value.code == "record_of_another_fabric"


def test_what_is_no_root_is_not_signed(authority):
    with pytest.raises(AuthorityError, match="does not belong"):
        authority.sign_root(authority.file_of(Key("service", "web")), now=NOW)


def test_without_any_root_key_nothing_is_proposed_and_the_threshold_is_named(authority):
    authority.close()
    (authority.folder.keys / "root-1.key").unlink()
    with Authority.open(authority.folder.path) as again:
        with pytest.raises(AuthorityError, match="takes 1 of them") as refused:
            again.rekey(now=NOW)
        assert refused.value.code == "not_an_authority"
        assert not (again.folder.keys / "directory-2.key").exists()


# -- which key is meant --
def test_a_key_is_named_by_its_file_its_id_or_the_ids_beginning(authority):
    key_id = only(authority, Role.ROOT)
    for told in ("root-1", key_id, key_id[:6]):
        assert authority.keys.find(told, authority.root) == key_id


@pytest.mark.parametrize("told", ["root-9", "", "zz", "a"])
def test_a_name_that_means_no_key_is_refused(authority, told):
    with pytest.raises(AuthorityError) as refused:
        authority.keys.find(told, authority.root)
    assert refused.value.code == "unknown_key_id"
