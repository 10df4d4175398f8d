"""A node's key file, its signatures, and the certificate kept beside it."""

from __future__ import annotations

import copy
import os
import pickle
import ssl
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.identity import has_signed
from fabric.errors import ConfigError
from fabric.net.tls import SPKI_PREFIX, NodeKey, certificate_for, create_key, load_key

# RFC 8032, 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest.fixture
def key_file(tmp_path):
    create_key(tmp_path / "node.key")
    return tmp_path / "node.key"


def refusal(path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_key(path)
    (mistake,) = caught.value.mistakes
    return mistake


def test_a_key_signs_as_the_standard_says():
    key = NodeKey.from_seed(SEED)
    assert key.public == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE


@given(st.binary(max_size=100))
def test_what_a_key_signed_verifies_under_its_public_half(message):
    key = NodeKey.from_seed(SEED)
    assert has_signed(key.public, message, key.sign(message))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match="32 bytes"):
        NodeKey.from_seed(bytes(size))


def test_a_created_key_is_read_back_and_is_private(tmp_path):
    key = create_key(tmp_path / "node.key")
    assert load_key(tmp_path / "node.key") == key
    assert stat.S_IMODE((tmp_path / "node.key").stat().st_mode) == 0o600
    assert (tmp_path / "node.key").read_text() == f"{key.seed.hex()}\n"


def test_no_two_created_keys_are_alike(tmp_path):
    assert create_key(tmp_path / "a").public != create_key(tmp_path / "b").public


def test_creating_a_key_never_touches_one_that_is_there(key_file):
    before = key_file.read_bytes()
    with pytest.raises(FileExistsError):
        create_key(key_file)
    assert key_file.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o601, 0o660, 0o777])
def test_a_key_that_others_may_use_is_refused_with_its_remedy(key_file, mode):
    key_file.chmod(mode)
    assert refusal(key_file) == (
        f"{key_file}: others may use it (mode {mode:04o}); chmod 600 {key_file}"
    )


def test_a_read_only_key_is_fine(key_file):
    key_file.chmod(0o400)
    load_key(key_file)


def test_a_missing_key_is_refused_with_the_way_to_draw_one(tmp_path):
    assert "no such file; draw a key" in refusal(tmp_path / "node.key")


@pytest.mark.parametrize("content", [b"", b"ab" * 31, b"ab" * 33, b"zz" * 32, b"\xff" * 64])
def test_a_key_file_of_anything_else_is_refused(tmp_path, content):
    path = tmp_path / "node.key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert "is not 64 hexadecimal digits" in refusal(path)


def test_a_fifo_in_place_of_a_key_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "node.key", 0o600)
    assert "is not a regular file" in refusal(tmp_path / "node.key")


def test_a_folder_in_place_of_a_key_is_refused(tmp_path):
    assert "cannot be read (Is a directory); name a file" in refusal(tmp_path)


def test_the_secret_is_neither_printed_nor_copied():
    key = NodeKey.from_seed(SEED)
    assert SEED.hex() not in repr(key)
    assert repr(SEED) not in repr(key)
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied"):
            carry(key)


def test_the_certificate_carries_the_key_and_tls_takes_both(tmp_path):
    certificate, private = certificate_for(NodeKey.from_seed(SEED))

    der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    assert der.count(bytes.fromhex("302a300506032b6570032100") + PUBLIC) == 1
    (tmp_path / "pem").write_bytes(certificate + private)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "pem")


def test_the_certificate_is_made_alike_every_time():
    assert certificate_for(NodeKey.from_seed(SEED)) == certificate_for(NodeKey.from_seed(SEED))


def test_the_certificate_is_kept_beside_the_key_and_holds_no_secret(key_file):
    key = load_key(key_file)
    key_file.with_name("node.key.crt").unlink()
    certificate, private = certificate_for(key)

    assert key_file.with_name("node.key.crt").read_bytes() == certificate
    assert private not in certificate
    assert key.seed not in ssl.PEM_cert_to_DER_cert(certificate.decode())


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        certificate_for(NodeKey.from_seed(SEED))[0],
        b"\n".join([b"", SPKI_PREFIX, b"", b""]),
    ],
    ids=["empty", "damaged", "another key's", "no PEM"],
)
def test_a_kept_certificate_that_does_not_fit_is_made_again(key_file, kept):
    key = load_key(key_file)
    right = certificate_for(key)
    key_file.with_name("node.key.crt").write_bytes(kept)

    assert certificate_for(key) == right
    assert key_file.with_name("node.key.crt").read_bytes() == right[0]


def test_a_folder_that_cannot_be_written_only_costs_the_keeping(key_file):
    key = load_key(key_file)
    key_file.with_name("node.key.crt").unlink()
    key_file.with_name("node.key.crt").mkdir()  # neither readable nor replaceable, by root too
    certificate, _ = certificate_for(key)
    assert certificate.startswith(b"-----BEGIN CERTIFICATE-----\n")


def test_a_created_key_has_its_certificate_at_once(key_file):
    certificate = key_file.with_name("node.key.crt").read_bytes()
    assert certificate_for(load_key(key_file))[0] == certificate


def test_only_the_first_certificate_imports_the_x509_library(key_file):
    key_file.with_name("node.key.crt").unlink()
    program = (
        "import sys, pathlib; from fabric.net.tls import certificate_for, load_key;"
        "certificate_for(load_key(pathlib.Path(sys.argv[1])));"
        "print('cryptography' in sys.modules)"
    )
    imported = [
        subprocess.run(
            [sys.executable, "-c", program, str(key_file)],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert imported == ["True", "False"]
