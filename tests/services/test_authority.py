"""A fabric's authority: its folder, what it says of nodes and services, and in which order."""

from __future__ import annotations

import stat
import threading
from itertools import count

import pytest
from attrs import evolve

from fabric.core.codec.envelopes import envelope_from_json
from fabric.core.codec.records import decode_record
from fabric.core.envelope import sign_payload
from fabric.core.identity import node_id_of
from fabric.core.records import DAY, Key, Role, Targets
from fabric.net.tls import NodeKey, load_key
from services.authority import (
    About,
    Authority,
    AuthorityError,
    Bounds,
    Grant,
    Quorum,
    folder,
    signing,
)

NOW = 1_800_000_000
HOME = About(area="home", roles=("relay", "ingress"), labels={"rack": "7"})
OPEN = Grant(offer_by=("area:home",), open_to=("any",))


def drawn():
    """Entropy that is the same every time, and never twice."""
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size)


def a_key(number):
    return NodeKey.from_seed(number.to_bytes(32)).public


@pytest.fixture
def authority(tmp_path):
    with Authority.create(tmp_path / "fab", now=NOW, draw=drawn()) as made:
        yield made


def record_of(envelope):
    return decode_record(envelope.payload)


def everything(path):
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


# -- the folder --
def test_a_new_fabric_has_keys_by_role_that_only_their_owner_can_read(authority):
    files = sorted(path.name for path in authority.folder.keys.iterdir())
    assert files == [
        "directory-1.key",
        "intent-1.key",
        "intent-2.key",
        "intent-3.key",
        "orchestrator-1.key",
        "recovery-1.key",
        "recovery-2.key",
        "recovery-3.key",
        "root-1.key",
    ]
    for path in authority.folder.keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert load_key(path).public
    assert stat.S_IMODE(authority.folder.path.stat().st_mode) == 0o700


def test_its_trust_root_names_each_key_once_with_the_thresholds_of_its_role(authority):
    root = authority.root
    assert root.version == 1
    assert {role: (held.threshold, len(held.keys)) for role, held in root.roles.items()} == {
        "root": (1, 1),
        "directory": (1, 1),
        "intent": (2, 3),
        "orchestrator": (1, 1),
        "recovery": (2, 3),
    }
    assert len(root.keys) == 9
    (key,) = authority.keys.present(root.roles[Role.ROOT].keys)
    assert authority.roots()[0].signed_by(key.public)


def test_root_json_and_the_first_version_are_one_file(authority):
    at = authority.folder
    assert at.root_file.read_bytes() == at.root_version(1).read_bytes()


def test_two_fabrics_have_nothing_in_common(tmp_path):
    with (
        Authority.create(tmp_path / "a", now=NOW) as one,
        Authority.create(tmp_path / "b", now=NOW) as other,
    ):
        assert one.fabric_id != other.fabric_id
        assert not set(one.root.keys) & set(other.root.keys)


def test_thresholds_are_what_was_asked_for(tmp_path):
    quorums = {Role.ROOT: Quorum(2, 3), Role.DIRECTORY: Quorum(1, 2)}
    with Authority.create(tmp_path / "a", now=NOW, quorums=quorums) as made:
        assert made.root.roles[Role.ROOT].threshold == 2
        signed = made.roots()[0]
        assert sum(signed.signed_by(key.key) for key in made.root.keys.values()) == 2


@pytest.mark.parametrize("text", ["", "3", "0/1", "3/2", "1/9", "1/x", "-1/2", "1/2/3"])
def test_a_quorum_that_nobody_could_meet_is_refused(text):
    with pytest.raises(ValueError, match="is not M/N"):
        Quorum.parse(text)


def test_a_folder_with_anything_in_it_is_refused_and_left_as_it_was(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AuthorityError, match="not empty") as refused:
        Authority.create(tmp_path, now=NOW)
    assert refused.value.code == "folder_not_empty"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_second_init_in_one_folder_is_refused_and_names_the_fabric(authority):
    authority.close()
    before = everything(authority.folder.path)
    with pytest.raises(AuthorityError, match="authority of fab already"):
        Authority.create(authority.folder.path, now=NOW)
    assert everything(authority.folder.path) == before


@pytest.mark.parametrize("there", [False, True])
def test_an_init_that_fails_leaves_nothing_behind(tmp_path, there):
    path = tmp_path / "fab"
    if there:
        path.mkdir()
    draw = drawn()
    drawings = count()

    def failing(size):
        if next(drawings) == 5:
            raise OSError("no entropy")
        return draw(size)

    with pytest.raises(OSError, match="no entropy"):
        Authority.create(path, now=NOW, draw=failing)
    assert path.exists() == there
    assert not there or not list(path.iterdir())


def test_a_folder_that_is_no_authority_is_refused_and_gets_no_lock_file(tmp_path):
    with pytest.raises(AuthorityError) as refused:
        Authority.open(tmp_path)
    assert refused.value.code == "not_an_authority"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_opened_only_to_look_signs_nothing(authority):
    authority.close()
    with (
        Authority.open(authority.folder.path, to_change=False) as looked,
        pytest.raises(RuntimeError),
    ):
        looked.add_node("home-1", a_key(1), HOME, now=NOW)


def test_two_commands_at_once_take_turns_and_draw_different_numbers(authority):
    at = authority.folder.path
    authority.add_service("web", OPEN, now=NOW)
    authority.close()
    made = []

    def change(number):
        with Authority.open(at) as opened:
            grant = evolve(OPEN, max_channels=number)
            made.append(record_of(opened.add_service("web", grant, now=NOW)))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(record.generation for record in made) == [2, 3, 4, 5, 6, 7]


def test_who_waits_for_the_lock_too_long_is_told(authority, monkeypatch):
    monkeypatch.setattr(folder, "LOCK_WITHIN", 0.0)
    with pytest.raises(AuthorityError) as refused:
        Authority.open(authority.folder.path)
    assert refused.value.code == "folder_busy"


def test_what_was_signed_is_read_back_as_it_was(authority):
    made = [
        authority.add_node("home-1", a_key(1), HOME, now=NOW),
        authority.add_service("web", OPEN, now=NOW),
        authority.set_policy(Bounds(fanout=4), now=NOW),
    ]
    authority.close()
    with Authority.open(authority.folder.path, to_change=False) as again:
        assert set(again.records()) == set(made)
        assert again.name == "fab"
        assert [path.exists() for path in again.files()] == [True] * 4
        assert again.files()[0] == again.folder.root_version(1)
        assert {envelope_from_json(path.read_text()) for path in again.files()[1:]} == set(made)


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_spoilt_file_is_named_with_what_to_do(authority, text):
    authority.add_service("web", OPEN, now=NOW)
    authority.close()
    path = authority.file_of(Key("service", "web"))
    path.write_text(text)
    with pytest.raises(AuthorityError, match=str(path)) as refused:
        Authority.open(authority.folder.path)
    assert "epoch" in refused.value.remedy


def test_a_record_under_another_ones_name_is_noticed(authority):
    authority.add_service("web", OPEN, now=NOW)
    authority.close()
    path = authority.file_of(Key("service", "web"))
    path.rename(path.with_name("other.json"))
    with pytest.raises(AuthorityError, match="it holds service/web"):
        Authority.open(authority.folder.path)


def test_a_key_file_that_others_may_read_is_refused(authority):
    authority.close()
    path = authority.folder.keys / "root-1.key"
    path.chmod(0o644)
    with pytest.raises(AuthorityError, match="0644") as refused:
        Authority.open(authority.folder.path)
    assert "chmod 600" in refused.value.remedy


# -- nodes --
def test_a_node_record_says_what_was_said_and_is_signed_by_the_directory(authority):
    about = evolve(
        HOME, site_id="s1", locality_group="l1", nat_group="n1", critical=True, roles=("b", "a")
    )
    envelope = authority.add_node("home-1", a_key(1), about, now=NOW)
    record = record_of(envelope)
    assert record.name == "home-1"
    assert record.subject == node_id_of(a_key(1))
    assert About.of(record) == about
    assert record.roles == ("a", "b")
    assert record.order == (0, 1)
    assert not record.revoked
    (directory,) = authority.root.roles[Role.DIRECTORY].keys
    assert [each.key_id for each in envelope.signatures] == [directory]
    assert envelope.signed_by(authority.root.keys[directory].key)


def test_a_record_lives_ninety_days_less_a_jitter_of_its_own(authority):
    lives = set()
    for number in range(1, 20):
        record = record_of(authority.add_node(f"n{number}", a_key(number), HOME, now=NOW))
        assert record.issued_at == NOW
        lives.add(record.expires_at - NOW)
    assert len(lives) > 15
    assert all(81 * DAY < life <= 90 * DAY for life in lives)


def test_the_same_said_twice_is_signed_once(authority):
    first = authority.add_node("home-1", a_key(1), HOME, now=NOW)
    assert authority.add_node("home-1", a_key(1), HOME, now=NOW + DAY) == first


def test_the_same_said_after_half_a_life_is_signed_anew(authority):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)
    later = authority.add_node("home-1", a_key(1), HOME, now=NOW + 46 * DAY)
    assert record_of(later).generation == 2


def test_something_else_said_of_a_node_takes_the_next_generation(authority):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)
    record = record_of(authority.add_node("home-1", a_key(1), About(area="usa"), now=NOW))
    assert (record.area, record.generation) == ("usa", 2)


def test_two_nodes_cannot_have_one_name(authority):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)
    with pytest.raises(AuthorityError) as refused:
        authority.add_node("home-1", a_key(2), HOME, now=NOW)
    assert refused.value.code == "name_taken"
    assert len(authority.records()) == 1


def test_one_key_cannot_be_two_nodes(authority):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)
    with pytest.raises(AuthorityError) as refused:
        authority.add_node("home-2", a_key(1), HOME, now=NOW)
    assert refused.value.code == "key_taken"


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("", HOME),
        ("../up", HOME),
        ("a b", HOME),
        ("home-1", About(area="")),
        ("home-1", About(area="home", roles=("no role",))),
        ("home-1", About(area="home", labels={"a=b": "c"})),
        ("home-1", About(area="home", labels={"a": "x" * 65})),
        ("home-1", About(area="home", site_id="a\nb")),
    ],
)
def test_what_no_record_can_say_is_refused_and_not_written(authority, name, about):
    before = everything(authority.folder.path)
    with pytest.raises(AuthorityError):
        authority.add_node(name, a_key(1), about, now=NOW)
    assert everything(authority.folder.path) == before


def test_a_key_that_is_no_point_is_refused(authority):
    with pytest.raises(AuthorityError, match="point"):
        authority.add_node("home-1", bytes(32), HOME, now=NOW)


def test_a_record_too_large_for_a_hello_is_refused(authority):
    labels = {f"label-{number}-{'k' * 50}": "v" * 64 for number in range(32)}
    with pytest.raises(AuthorityError) as refused:
        authority.add_node("home-1", a_key(1), evolve(HOME, labels=labels), now=NOW)
    assert refused.value.code == "record_too_large"
    assert not authority.records()


def test_a_drawn_node_key_is_its_owners_alone_and_used_before_another_is_drawn(authority):
    key = authority.draw_node_key("home-1")
    assert key.file == authority.folder.nodes / "home-1.key"
    assert stat.S_IMODE(key.file.stat().st_mode) == 0o600
    assert authority.draw_node_key("home-1").public == key.public
    authority.add_node("home-1", key.public, HOME, now=NOW)
    other = authority.draw_node_key("home-1")
    assert other.public != key.public
    assert load_key(key.file).public == key.public


def test_a_new_key_for_a_name_ends_the_old_one(authority):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)
    made, ended = map(record_of, authority.replace_node("home-1", a_key(2), now=NOW + 1))
    assert (made.name, made.key_bytes, made.revoked) == ("home-1", a_key(2), False)
    assert About.of(made) == HOME
    assert (ended.key_bytes, ended.revoked, ended.generation) == (a_key(1), True, 2)
    assert [node.key_bytes for node in authority.nodes()] == [a_key(2)]


def test_a_replacement_that_was_broken_off_is_finished_by_the_same_call(authority, monkeypatch):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)

    def broken(*_, **__):
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(signing, "end", broken)
        with pytest.raises(OSError, match="power"):
            authority.replace_node("home-1", a_key(2), now=NOW)
    authority.close()
    with Authority.open(authority.folder.path) as again:
        assert len(again.nodes()) == 2
        made, ended = map(record_of, again.replace_node("home-1", a_key(2), now=NOW))
        assert (made.generation, ended.revoked) == (1, True)
        assert [node.key_bytes for node in again.nodes()] == [a_key(2)]


@pytest.mark.parametrize(("key", "code"), [(1, "same_key"), (2, "key_taken")])
def test_a_node_is_not_replaced_by_itself_or_another(authority, key, code):
    authority.add_node("home-1", a_key(1), HOME, now=NOW)
    authority.add_node("home-2", a_key(2), HOME, now=NOW)
    with pytest.raises(AuthorityError) as refused:
        authority.replace_node("home-1", a_key(key), now=NOW)
    assert refused.value.code == code


# -- services, policy --
def test_a_service_said_again_is_replaced_whole(authority):
    authority.add_service("web", evolve(OPEN, edge_exposable=True, core=True), now=NOW)
    record = record_of(authority.add_service("web", OPEN, now=NOW))
    assert record.generation == 2
    assert (record.edge_exposable, record.core) == (False, False)
    assert (record.offer_by, record.open_to) == (("area:home",), ("any",))


@pytest.mark.parametrize(
    ("name", "grant"),
    [("../x", OPEN), ("web", Grant(open_to=("everybody",))), ("web", Grant(max_channels=-1))],
)
def test_a_service_that_no_record_can_say_is_refused(authority, name, grant):
    with pytest.raises(AuthorityError):
        authority.add_service(name, grant, now=NOW)
    assert not authority.records()


def test_a_policy_changes_only_in_what_is_named(authority):
    authority.set_policy(Bounds(fanout=4, targets={"relay": Targets(direct=5)}), now=NOW)
    record = record_of(
        authority.set_policy(Bounds(hops=6, targets={"default": Targets()}), now=NOW)
    )
    assert (record.fanout, record.hops, record.generation) == (4, 6, 2)
    assert dict(record.targets) == {"relay": Targets(direct=5), "default": Targets()}


def test_a_policy_after_its_tombstone_begins_anew(authority):
    held = record_of(authority.set_policy(Bounds(fanout=4), now=NOW))
    authority.revoke(held.key, now=NOW)
    record = record_of(authority.set_policy(Bounds(hops=6), now=NOW))
    assert (record.fanout, record.hops, record.generation) == (5, 6, 3)
    assert not record.revoked


def test_a_policy_out_of_bounds_is_refused(authority):
    with pytest.raises(AuthorityError, match="fanout"):
        authority.set_policy(Bounds(fanout=17), now=NOW)


# -- tombstones --
def test_a_tombstone_outlives_all_that_was_issued_at_its_key_by_a_week(authority):
    record = record_of(authority.add_node("home-1", a_key(1), HOME, now=NOW))
    latest = record.expires_at
    for day in (10, 20):
        (made,) = authority.resign(now=NOW + day * DAY, all_of_them=True)
        record = record_of(made)
        latest = max(latest, record.expires_at)
    tombstone = record_of(authority.revoke(record.key, now=NOW + 50 * DAY))
    assert tombstone.revoked
    assert tombstone.expires_at >= latest + 7 * DAY
    assert tombstone.generation == 4
    assert (tombstone.name, tombstone.key_bytes) == ("home-1", a_key(1))


def test_no_successor_expires_before_what_it_replaces(authority):
    authority.add_service("web", OPEN, now=NOW)
    before = record_of(authority.records()[0])
    for number in range(1, 30):
        grant = evolve(OPEN, max_channels=number)
        after = record_of(authority.add_service("web", grant, now=NOW))
        assert after.expires_at >= before.expires_at
        before = after


def test_a_clock_that_went_back_shortens_no_tombstone(authority):
    made = record_of(authority.add_service("web", OPEN, now=NOW))
    tombstone = record_of(authority.revoke(made.key, now=NOW - 300 * DAY))
    assert tombstone.expires_at >= made.expires_at + 7 * DAY


def test_what_expired_long_ago_is_ended_for_a_week_at_least(authority):
    made = record_of(authority.add_service("web", OPEN, now=NOW))
    tombstone = record_of(authority.revoke(made.key, now=NOW + 400 * DAY))
    assert tombstone.expires_at == NOW + 407 * DAY


def test_revoked_twice_is_signed_once(authority):
    authority.add_service("web", OPEN, now=NOW)
    first = authority.revoke(Key("service", "web"), now=NOW)
    assert authority.revoke(Key("service", "web"), now=NOW + DAY) == first


def test_what_was_never_signed_cannot_be_revoked(authority):
    with pytest.raises(AuthorityError) as refused:
        authority.revoke(Key("service", "web"), now=NOW)
    assert refused.value.code == "unknown_record"


def test_a_name_is_free_again_once_its_node_is_revoked(authority):
    made = record_of(authority.add_node("home-1", a_key(1), HOME, now=NOW))
    authority.revoke(made.key, now=NOW)
    authority.add_node("home-1", a_key(2), HOME, now=NOW)
    assert authority.node("home-1").key_bytes == a_key(2)


def test_what_is_added_anew_counts_on_from_its_tombstone(authority):
    made = record_of(authority.add_node("home-1", a_key(1), HOME, now=NOW))
    ended = record_of(authority.revoke(made.key, now=NOW))
    again = record_of(authority.add_node("home-1", a_key(1), HOME, now=NOW))
    assert [made.generation, ended.generation, again.generation] == [1, 2, 3]
    assert not again.revoked
    assert again.expires_at >= ended.expires_at


# -- at half-life --
def test_only_what_has_lived_half_its_life_is_signed_again(authority):
    authority.add_service("old", OPEN, now=NOW)
    authority.add_service("new", OPEN, now=NOW + 40 * DAY)
    (made,) = authority.resign(now=NOW + 46 * DAY)
    record = record_of(made)
    assert (record.subject, record.generation) == ("old", 2)
    assert record.issued_at == NOW + 46 * DAY
    assert authority.resign(now=NOW + 46 * DAY) == []


def test_all_is_signed_again_when_asked_but_no_tombstone(authority):
    authority.add_service("one", OPEN, now=NOW)
    authority.add_service("two", OPEN, now=NOW)
    authority.revoke(Key("service", "one"), now=NOW)
    made = authority.resign(now=NOW, all_of_them=True)
    assert [record_of(each).subject for each in made] == ["two"]


def test_a_tombstone_is_not_signed_again_however_old_it_is(authority):
    authority.add_service("web", OPEN, now=NOW)
    authority.revoke(Key("service", "web"), now=NOW)
    assert authority.resign(now=NOW + 80 * DAY) == []
    assert authority.resign(now=NOW + 400 * DAY) == []


def test_what_has_expired_is_signed_again_too(authority):
    authority.add_service("web", OPEN, now=NOW)
    (made,) = authority.resign(now=NOW + 200 * DAY)
    assert record_of(made).expires_at > NOW + 200 * DAY


def test_a_field_of_a_later_release_is_not_signed_away(authority):
    authority.add_service("web", OPEN, now=NOW)
    (key,) = authority.keys.present(authority.root.roles[Role.DIRECTORY].keys)
    payload = authority.records()[0].payload
    newer = payload.replace(b'"kind":', b'"jurisdiction":"eu","kind":')
    folder.write_envelope(
        authority.file_of(Key("service", "web")), sign_payload(newer, key.public, key.sign)
    )
    authority.close()
    with Authority.open(authority.folder.path) as again:
        with pytest.raises(AuthorityError) as refused:
            again.resign(now=NOW, all_of_them=True)
        assert refused.value.code == "needs_newer_release"


def test_without_the_directory_key_nothing_is_signed_and_the_role_is_named(authority):
    authority.close()
    (authority.folder.keys / "directory-1.key").unlink()
    with Authority.open(authority.folder.path) as again:
        with pytest.raises(AuthorityError, match="0 of the 1 directory keys") as refused:
            again.add_node("home-1", a_key(1), HOME, now=NOW)
        assert refused.value.code == "not_an_authority"
        assert not again.records()


def test_a_disk_that_fails_leaves_the_record_before_whole(authority, monkeypatch):
    first = authority.add_service("web", OPEN, now=NOW)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(folder.durable, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            authority.add_service("web", Grant(), now=NOW)
    authority.close()
    with Authority.open(authority.folder.path) as again:
        assert again.records() == [first]
        assert record_of(again.add_service("web", Grant(), now=NOW)).generation == 2
