"""The files that a configuration names: each slip is told under the setting, with the remedy."""

from __future__ import annotations

import os

import pytest

from fabric.config import load_config, parse_config
from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.records import Role
from fabric.errors import ConfigError
from fabric.testing.records import AFabric, payload_with, signed


@pytest.fixture
def mistakes(operator):
    """Return `mistakes(**settings)`: what is told of a [node] with these beside its name."""

    def found(**settings):
        document = {"node": {"name": "home-1", **settings}}
        try:
            parse_config(document, base=operator.folder)
        except ConfigError as error:
            return [line.replace(str(operator.folder), "DIR") for line in error.mistakes]
        return []

    return found


def test_the_files_that_these_tests_spoil_are_good(mistakes, operator):
    operator.copy_records("home-1", "away-1")
    assert mistakes(records=["records", "records/home-1.json"]) == []


# -- the trust root --
def test_a_trust_root_that_is_not_there_is_told_where_to_get(mistakes, operator):
    (operator.folder / "root.json").unlink()
    assert mistakes() == [
        "node.trust_root: DIR/root.json: there is no such file; "
        "copy it from the folder that `fabricctl init` made"
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is no signed record (record_malformed: no envelope: Expecting value"),
        ("{}", "is no signed record (record_malformed: no envelope: not an object with"),
        ("[" * 100_000, "is no signed record (record_malformed: no envelope: "),
        (b"\xff", "is no signed record ('utf-8' codec can't decode"),
        (" " * (128 << 10) + " ", "is too large for a signed record; name the file of one"),
    ],
)
def test_what_is_no_envelope_is_no_trust_root(mistakes, operator, content, why):
    octets = content if isinstance(content, bytes) else content.encode()
    (operator.folder / "root.json").write_bytes(octets)
    (told,) = mistakes()
    assert told.startswith(f"node.trust_root: DIR/root.json: {why}")


def test_a_folder_or_a_pipe_is_no_trust_root_and_hangs_no_start(mistakes, operator):
    os.mkfifo(operator.folder / "pipe")
    assert mistakes(trust_root="pipe") == [
        "node.trust_root: DIR/pipe: is not a regular file; name the file that holds the record"
    ]
    (told,) = mistakes(trust_root=".")
    assert told.startswith("node.trust_root: DIR: cannot be read (Is a directory); name a file")


def test_a_record_in_the_place_of_the_trust_root_is_named(mistakes, operator):
    operator.copy_records("home-1")
    node_id = operator.fabric.node_id("home-1")
    assert mistakes(trust_root="records/home-1.json") == [
        f"node.trust_root: DIR/records/home-1.json: holds node/{node_id}, which is no trust root; "
        "name the fabric's root.json"
    ]


def test_a_trust_root_of_a_later_release_asks_for_that_release(mistakes, operator):
    fabric = operator.fabric
    later = signed(payload_with(fabric.root(), v=2), *fabric.enough(Role.ROOT))
    operator.copy("root.json", later)
    assert mistakes() == [
        "node.trust_root: DIR/root.json: is a trust root of a later release; update this node"
    ]


def test_a_trust_root_with_too_few_signatures_is_only_a_proposal(mistakes, operator):
    fabric = operator.fabric
    assert len(fabric.enough(Role.ROOT)) > 1
    operator.copy("root.json", signed(fabric.root(), fabric.enough(Role.ROOT)[0]))
    assert mistakes() == [
        "node.trust_root: DIR/root.json: is not signed by enough of its own root keys; "
        "name root.json; for what is only proposed there is `fabricctl root sign`"
    ]


def test_a_trust_root_that_was_altered_is_not_believed(mistakes, operator):
    fabric = operator.fabric
    good, other = fabric.signed(fabric.root()), fabric.signed(fabric.root(last_epoch=9))
    altered = envelope_to_json(good).replace(_payload(good), _payload(other))
    assert altered != envelope_to_json(good)
    (operator.folder / "root.json").write_text(altered)
    (told,) = mistakes()
    assert "root.json: is not signed by enough of its own root keys" in told


def _payload(envelope):
    return envelope_to_json(envelope).split('"payload": "')[1].partition('"')[0]


# -- records --
def test_each_bad_record_is_told_under_the_place_that_leads_to_it(mistakes, operator):
    operator.copy_records("home-1")
    (operator.folder / "records/b.json").write_text("{}")
    (operator.folder / "records/a.json").write_text("[]")
    told = mistakes(records=["absent.json", "records", "node.key"])
    assert [line.partition(": is ")[0] for line in told[1:]] == [
        "node.records[1]: DIR/records/a.json",
        "node.records[1]: DIR/records/b.json",
        "node.records[2]: DIR/node.key",
    ]
    assert told[0] == (
        "node.records[0]: DIR/absent.json: there is no such file; "
        "copy it from the folder that `fabricctl init` made"
    )


def test_a_record_of_another_fabric_is_told_before_the_node_starts(mistakes, operator):
    stranger = AFabric(b"another fabric..")
    operator.copy("own.json", stranger.signed(stranger.node("home-1")))
    assert mistakes(records=["own.json"]) == [
        f"node.records[0]: DIR/own.json: node/{stranger.node_id('home-1')} is of another fabric; "
        "name the records of this one"
    ]


def test_without_a_trust_root_no_record_is_called_foreign(mistakes, operator):
    operator.copy_records("home-1")
    (told,) = mistakes(trust_root="absent.json", records=["records"])
    assert told.startswith("node.trust_root: DIR/absent.json: ")


def test_a_mistake_is_one_line_whatever_the_path(mistakes):
    (told,) = mistakes(records=["a\nb\u202e.json"])
    assert told.startswith("node.records[0]: DIR/a\\nb\\u202e.json: there is no such file; ")


def test_a_file_on_disk_starts_paths_at_its_own_folder(operator, monkeypatch):
    monkeypatch.chdir("/")
    operator.copy_records("home-1")
    file = operator.folder / "node.toml"
    file.write_text('[node]\nname = "home-1"\nrecords = ["records"]\n')
    config = load_config(file)
    assert config.trust_root == operator.folder / "root.json"
    assert config.records == (operator.folder / "records",)
