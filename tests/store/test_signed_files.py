"""Signed records as files: what is read from where, and what a slip of the path costs."""

from __future__ import annotations

import os

import pytest

from fabric.core.codec.envelopes import envelope_to_json
from fabric.errors import ConfigError
from fabric.store import signed_files
from fabric.store.signed_files import load_envelope, load_records, load_trust_root
from fabric.testing.records import AFabric, later_payloads, signed


@pytest.fixture
def fabric():
    return AFabric()


@pytest.fixture
def put(tmp_path):
    """Return `put(name, envelope)`: a file of that name, or of a path below the folder."""

    def write(name, envelope):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(envelope_to_json(envelope))
        return path

    return write


def mistakes_of(*places, **options):
    with pytest.raises(ConfigError) as caught:
        load_records(places, **options)
    return caught.value.mistakes


def test_a_file_gives_the_envelope_that_was_written(put, fabric):
    envelope = fabric.signed(fabric.service("demo"))
    assert load_envelope(put("demo.json", envelope)) == envelope


def test_a_trust_root_comes_as_it_was_signed(put, fabric):
    envelope = fabric.signed(fabric.root())
    assert load_trust_root(put("root.json", envelope)) == envelope


def test_a_later_version_of_the_trust_root_is_as_good_to_begin_with(put, fabric):
    envelope = fabric.signed(fabric.root(version=7))
    assert load_trust_root(put("root.json", envelope)) == envelope


def test_a_folder_gives_everything_below_it_sorted_by_path(put, fabric, tmp_path):
    paths = ["node/b.json", "node/a.json", "service/demo.json", "a.json"]
    wanted = {put(path, fabric.signed(fabric.node(path))): path for path in paths}
    (tmp_path / "README").write_text("no record")
    (tmp_path / ".a.json.x7").write_text("half a rec")  # as a copy under way leaves it
    assert load_records([tmp_path]) == [load_envelope(path) for path in sorted(wanted)]


def test_places_are_read_in_their_order_and_an_empty_folder_is_none(put, fabric, tmp_path):
    first, second = (put(f"{name}.json", fabric.signed(fabric.node(name))) for name in "ba")
    (tmp_path / "empty").mkdir()
    assert load_records([first, tmp_path / "empty", second]) == [
        load_envelope(first),
        load_envelope(second),
    ]


def test_no_signature_is_asked_for_since_the_node_judges_by_the_root_in_use(put, fabric):
    envelope = signed(fabric.node("home-1"), fabric.node_key("home-1"))
    assert load_records([put("own.json", envelope)]) == [envelope]


@pytest.mark.parametrize("what", later_payloads())
def test_what_a_later_release_signed_is_taken_too(put, fabric, what):
    envelope = signed(later_payloads(fabric)[what], fabric.node_key("home-1"))
    assert load_records([put("later.json", envelope)], fabric=fabric.id) == [envelope]


def test_the_mistakes_of_all_places_are_told_at_once(put, fabric, tmp_path):
    foreign = AFabric(b"another fabric..")
    put("good.json", fabric.signed(fabric.node("home-1")))
    put("foreign.json", foreign.signed(foreign.service("demo")))
    put("garbled.json", signed(b'{"kind":5}', fabric.node_key("home-1")))
    (tmp_path / "cut.json").write_text('{"payload"')
    told = mistakes_of(tmp_path, tmp_path / "absent.json", fabric=fabric.id)
    assert [line.removeprefix(f"{tmp_path}/").partition(" (")[0] for line in told] == [
        "cut.json: is no signed record",
        "foreign.json: service/demo is of another fabric; name the records of this one",
        "garbled.json: is no signed record",
        "absent.json: there is no such file; copy it from the folder that `fabricctl init` made",
    ]


def test_a_folder_with_too_much_in_it_is_left_before_it_is_walked(monkeypatch, tmp_path):
    monkeypatch.setattr(signed_files, "MOST_FILES", 3)
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert load_records([tmp_path]) == []
    (tmp_path / "a" / "not a record").touch()
    (tmp_path / "a" / "nor this").touch()
    seen = []
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *args, **named: _counted(walk(*args, **named), seen))
    assert mistakes_of(tmp_path) == [
        f"{tmp_path}: holds over 3 files; name the folder of the records"
    ]
    assert [os.path.basename(path) for path in seen] == [tmp_path.name, "a"]


def _counted(walk, seen):
    for step in walk:
        seen.append(step[0])
        yield step


def test_a_folder_that_cannot_be_listed_is_a_mistake_and_not_an_empty_one(monkeypatch, tmp_path):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    assert mistakes_of(tmp_path) == [
        f"{tmp_path}: cannot be listed (Permission denied); "
        "let this user list it, or name single files"
    ]


def test_folders_that_lead_in_a_circle_are_walked_once(put, fabric, tmp_path):
    path = put("records/own.json", fabric.signed(fabric.node("home-1")))
    (tmp_path / "records" / "again").symlink_to(tmp_path / "records")
    assert load_records([tmp_path / "records"]) == [load_envelope(path)]


def test_a_name_longer_than_the_system_takes_is_a_mistake(tmp_path):
    (told,) = mistakes_of(tmp_path / ("x" * 300))
    assert told.endswith(
        "cannot be read (File name too long); name a file that this user can read"
    )
