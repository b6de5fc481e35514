# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S9: envelopes mean one thing, verify with other implementations, and with none after one changed byte."""

from __future__ import annotations

import json
import random
import stat
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, signing_keys
from promotion_rig import envelope_json, own_base64, own_pae

pytestmark = pytest.mark.row("S9")

TYPE = "https://rampart.example/attestation/evidence/v1"
PAYLOAD = attestation.dump_statement(TYPE, {"model/x": "a" * 64, "image/y": "b" * 64}, {"environment": "dev"})


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def envelope(key: Ed25519PrivateKey) -> attestation.Envelope:
    return attestation.sign(attestation.Envelope(PAYLOAD), key)


def code_of(run: Callable[[], Any]) -> str:
    with pytest.raises(FindingError) as refused:
        run()
    return refused.value.finding.code


def openssl_verifies(directory: Path, public_pem: str, message: bytes, signature: bytes) -> bool:
    (directory / "key.pub").write_text(public_pem, encoding="ascii")
    (directory / "message").write_bytes(message)
    (directory / "signature").write_bytes(signature)
    done = subprocess.run(
        "openssl pkeyutl -verify -pubin -inkey key.pub -rawin -in message -sigfile signature".split(),
        cwd=directory,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


class TestOtherImplementations:
    def test_cryptography_alone_verifies(self, envelope: attestation.Envelope, key: Ed25519PrivateKey) -> None:
        document = envelope_json(envelope)
        payload = own_base64(document["payload"])
        assert document["payloadType"] == "application/vnd.in-toto+json"
        assert json.loads(payload)["_type"] == "https://in-toto.io/Statement/v1"
        signature = own_base64(document["signatures"][0]["sig"])
        key.public_key().verify(signature, own_pae(document["payloadType"], payload))
        with pytest.raises(InvalidSignature):
            key.public_key().verify(signature, own_pae("application/json", payload))
        with pytest.raises(InvalidSignature):
            key.public_key().verify(signature, payload)

    def test_openssl_verifies(self, envelope: attestation.Envelope, key: Ed25519PrivateKey, tmp_path: Path) -> None:
        document = envelope_json(envelope)
        message = own_pae(document["payloadType"], own_base64(document["payload"]))
        signature = own_base64(document["signatures"][0]["sig"])
        pem = signing_keys.public_pem(key.public_key())
        assert envelope.pae == message
        assert openssl_verifies(tmp_path, pem, message, signature)
        assert not openssl_verifies(tmp_path, pem, message + b" ", signature)

    def test_openssl_signs_what_is_attached(self, tmp_path: Path) -> None:
        """The officer's machine has openssl and nothing else; another key's signature is not taken."""

        def run(command: str) -> str:
            done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=True)
            return done.stdout

        for name in ("officer", "other"):
            run(f"openssl genpkey -algorithm ed25519 -aes256 -pass pass:correct-horse -out {name}.pem")
        run("openssl pkey -in officer.pem -passin pass:correct-horse -pubout -out officer.pub")
        unsigned = attestation.Envelope(PAYLOAD)
        (tmp_path / "pae").write_bytes(unsigned.pae)
        signatures = {}
        for name in ("officer", "other"):
            key = f"-inkey {name}.pem -passin pass:correct-horse"
            run(f"openssl pkeyutl -sign {key} -rawin -in pae -out {name}.sig")
            signatures[name] = (tmp_path / f"{name}.sig").read_bytes()
        public = signing_keys.parse_public((tmp_path / "officer.pub").read_text(encoding="ascii"), "officer.pub")
        signed = attestation.attach(unsigned, public, signatures["officer"])
        assert attestation.holds(signed, signed.signatures[0], public)
        with pytest.raises(FindingError, match="ATTESTATION-SIGNATURE-INVALID"):
            attestation.attach(unsigned, public, signatures["other"])
        # The same key file that openssl made signs here too, and says the same: Ed25519 is deterministic.
        (tmp_path / "officer.pem").chmod(0o600)
        private = signing_keys.load_private(tmp_path / "officer.pem", "correct-horse")
        assert attestation.sign(unsigned, private) == signed
        run("openssl pkey -pubin -in officer.pub -outform DER -out officer.der")
        assert signed.signatures[0].keyid == run("sha256sum officer.der").split()[0]


class TestOneChangedByte:
    def test_of_the_payload_or_signature_is_always_found(
        self, envelope: attestation.Envelope, key: Ed25519PrivateKey
    ) -> None:
        random.seed(9)
        signature = envelope.signatures[0]
        for position in random.sample(range(len(PAYLOAD)), 150):
            changed = bytearray(PAYLOAD)
            changed[position] ^= 1 << random.randrange(8)
            assert not attestation.holds(attestation.Envelope(bytes(changed)), signature, key.public_key())
        for position in range(len(signature.value)):
            value = bytearray(signature.value)
            value[position] ^= 1 << random.randrange(8)
            forged = attestation.Signature(signature.keyid, bytes(value))
            assert not attestation.holds(envelope, forged, key.public_key())
        assert attestation.holds(envelope, signature, key.public_key())

    def test_of_the_file_never_leaves_it_as_good_as_it_was(
        self, envelope: attestation.Envelope, key: Ed25519PrivateKey
    ) -> None:
        """Each character of payload and signature in the file: refused, or read as other bytes that do not verify."""
        document = envelope_json(envelope)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_= \n"
        random.seed(9)

        def good(changed: dict[str, Any]) -> bool:
            try:
                read = attestation.parse_envelope(json.dumps(changed).encode(), "x")
            except FindingError as error:
                assert error.finding.code == "ATTESTATION-INVALID"
                return False
            return attestation.holds(read, read.signatures[0], key.public_key())

        assert good(document)
        for text, put in (
            (document["payload"], lambda new: {**document, "payload": new}),
            (
                document["signatures"][0]["sig"],
                lambda new: {**document, "signatures": [{**document["signatures"][0], "sig": new}]},
            ),
        ):
            # The end is where lenient decoders let two texts mean the same bytes.
            positions = {*random.sample(range(len(text)), 60), *range(len(text) - 6, len(text))}
            for position in positions:
                for other in {*random.sample(alphabet, 4), "A", "="} - {text[position]}:
                    assert not good(put(text[:position] + other + text[position + 1 :])), (position, other)


class TestHostileEnvelopes:
    @pytest.mark.parametrize(
        ("what", "data"),
        [
            ("nothing", b""),
            ("no JSON", b"{"),
            ("no object", b"[]"),
            ("no UTF-8", b'{"payload": "\xff"}'),
            ("NaN", b'{"payload": NaN}'),
            ("null", b"null"),
            ("a number of many digits", b"9" * 10000),
            ("deep", b"[" * 100_000 + b"]" * 100_000),
            ("deep within limits of the parser", b'{"a":' * 40 + b"1" + b"}" * 40),
            ("unterminated and deep", b'{"payload":' * 200_000),
            (
                "twice the payload",
                b'{"payload":"","payload":"","payloadType":"application/vnd.in-toto+json","signatures":[]}',
            ),
        ],
    )
    def test_are_one_finding(self, what: str, data: bytes) -> None:
        assert code_of(lambda: attestation.parse_envelope(data, what)) == "ATTESTATION-INVALID"

    @pytest.mark.parametrize(
        "change",
        [
            {"payloadType": "application/json"},
            {"payloadType": "application/vnd.in-toto+json "},
            {"payloadType": None},
            {"payload": 1},
            {"payload": "e30"},
            {"payload": "e30=\n"},
            {"payload": "+-8="},
            {"signatures": {}},
            {"signatures": ["x"]},
            {"signatures": [{"keyid": 1, "sig": ""}]},
            {"signatures": [{"keyid": "x"}]},
            {"signatures": [{"keyid": "x", "sig": "=" * 4}]},
        ],
    )
    def test_with_wrong_parts_are_refused(self, envelope: attestation.Envelope, change: dict[str, Any]) -> None:
        data = json.dumps({**envelope_json(envelope), **change}).encode()
        assert code_of(lambda: attestation.parse_envelope(data, "x")) == "ATTESTATION-INVALID"

    @pytest.mark.parametrize(
        "more",
        [b'"note": NaN', b'"note": -Infinity', b'"note": ' + b"[" * 40 + b"]" * 40, b'"payloadType": "x"'],
    )
    def test_that_are_good_but_for_one_thing_are_refused(self, envelope: attestation.Envelope, more: bytes) -> None:
        data = attestation.dump_envelope(envelope)
        assert attestation.parse_envelope(data, "x") == envelope
        assert code_of(lambda: attestation.parse_envelope(b"{" + more + b"," + data[1:], "x")) == "ATTESTATION-INVALID"

    def test_that_are_good_but_too_long_are_refused(self, envelope: attestation.Envelope) -> None:
        data = attestation.dump_envelope(envelope)
        long = data + b" " * (attestation.ENVELOPE_MAX_BYTES - len(data))
        assert attestation.parse_envelope(long, "x") == envelope
        assert code_of(lambda: attestation.parse_envelope(long + b" ", "x")) == "ATTESTATION-INVALID"

    def test_ten_thousand_signatures_are_refused_before_one_is_looked_at(
        self, envelope: attestation.Envelope, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoded = []
        real = attestation._base64
        monkeypatch.setattr(
            attestation, "_base64", lambda text, what, subject: decoded.append(what) or real(text, what, subject)
        )
        document = envelope_json(envelope)
        data = json.dumps({**document, "signatures": document["signatures"] * 10_000}).encode()
        assert code_of(lambda: attestation.parse_envelope(data, "x")) == "ATTESTATION-INVALID"
        assert decoded == []

    def test_a_signature_too_many_is_not_added(self, envelope: attestation.Envelope) -> None:
        full = envelope
        for _number in range(attestation.SIGNATURES_MAX - 1):
            full = attestation.sign(full, Ed25519PrivateKey.generate())
        assert len(full.signatures) == attestation.SIGNATURES_MAX
        assert code_of(lambda: attestation.sign(full, Ed25519PrivateKey.generate())) == "ATTESTATION-INVALID"

    def test_a_huge_file_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "huge"
        with path.open("wb") as stream:
            stream.truncate(50 * 1024**3)
        tracemalloc.start()
        assert code_of(lambda: attestation.read_envelope(path)) == "ATTESTATION-INVALID"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * attestation.ENVELOPE_MAX_BYTES

    def test_many_small_values_take_bounded_memory(self) -> None:
        data = b"[" + b"[]," * (attestation.ENVELOPE_MAX_BYTES // 3 - 1) + b"1]"
        tracemalloc.start()
        assert code_of(lambda: attestation.parse_envelope(data, "x")) == "ATTESTATION-INVALID"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 128 * 1024 * 1024

    def test_a_file_that_is_not_there_or_a_directory_says_so(self, tmp_path: Path) -> None:
        assert code_of(lambda: attestation.read_envelope(tmp_path / "none")) == "ATTESTATION-READ"
        assert code_of(lambda: attestation.read_envelope(tmp_path)) == "ATTESTATION-READ"


class TestWhatDsseAllows:
    def test_url_safe_base64_is_read_as_the_same_bytes(self, key: Ed25519PrivateKey) -> None:
        # Bytes whose base64 holds both signs that differ.
        payload = b'{"x": "\xc3\xbe\xc3\xbf?>~\xf0\x9f\x98\x80\xe3\xbf\xbf\xef\xbf\xaf"}'
        signed = attestation.sign(attestation.Envelope(payload), key)
        document = envelope_json(signed)
        document["payload"] = document["payload"].replace("+", "-").replace("/", "_")
        for entry in document["signatures"]:
            entry["sig"] = entry["sig"].replace("+", "-").replace("/", "_")
        assert set("-_") & set(document["payload"])
        read = attestation.parse_envelope(json.dumps(document).encode(), "x")
        assert read == signed

    def test_both_alphabets_in_one_text_are_refused(self) -> None:
        document = {"payload": "-_+/", "payloadType": attestation.PAYLOAD_TYPE, "signatures": []}
        assert code_of(lambda: attestation.parse_envelope(json.dumps(document).encode(), "x")) == "ATTESTATION-INVALID"

    def test_unknown_fields_are_ignored_and_not_written_again(self, envelope: attestation.Envelope) -> None:
        document = {**envelope_json(envelope), "note": "hello"}
        document["signatures"][0]["cert"] = "x"
        read = attestation.parse_envelope(json.dumps(document).encode(), "x")
        assert read == envelope
        assert envelope_json(read) == envelope_json(envelope)

    def test_the_same_key_signs_once(self, envelope: attestation.Envelope, key: Ed25519PrivateKey) -> None:
        assert attestation.sign(envelope, key) == envelope
        assert len(envelope_json(attestation.sign(envelope, key))["signatures"]) == 1

    def test_the_file_does_not_depend_on_the_order_of_signing(self, key: Ed25519PrivateKey) -> None:
        other = Ed25519PrivateKey.generate()
        one = attestation.sign(attestation.sign(attestation.Envelope(PAYLOAD), key), other)
        two = attestation.sign(attestation.sign(attestation.Envelope(PAYLOAD), other), key)
        assert attestation.dump_envelope(one) == attestation.dump_envelope(two)
        assert one.id == two.id


class TestStatements:
    def test_are_read_back(self) -> None:
        subjects, predicate = attestation.parse_statement(PAYLOAD, TYPE, "x")
        assert subjects == {"model/x": "a" * 64, "image/y": "b" * 64}
        assert predicate == {"environment": "dev"}

    @pytest.mark.parametrize(
        "change",
        [
            {"_type": "https://in-toto.io/Statement/v0.1"},
            {"predicateType": "https://slsa.dev/provenance/v1"},
            {"predicateType": None},
            {"predicate": []},
            {"subject": []},
            {"subject": [{"name": "x", "digest": {"sha512": "a" * 64}}]},
            {"subject": [{"name": "x", "digest": {"sha256": "A" * 64}}]},
            {"subject": [{"name": 1, "digest": {"sha256": "a" * 64}}]},
            {"subject": [{"name": "x", "digest": {"sha256": "a" * 64}}] * 2},
            {"subject": [{"name": f"{n}", "digest": {"sha256": "a" * 64}} for n in range(5000)]},
        ],
    )
    def test_of_another_kind_are_refused(self, change: dict[str, Any]) -> None:
        payload = json.dumps({**json.loads(PAYLOAD), **change}).encode()
        assert code_of(lambda: attestation.parse_statement(payload, TYPE, "x")) == "ATTESTATION-INVALID"

    def test_with_one_key_twice_are_refused(self) -> None:
        """Two parsers could read two different promotions out of the same signed bytes."""
        payload = PAYLOAD.replace(b'"environment": "dev"', b'"environment": "dev", "environment": "prod"')
        assert code_of(lambda: attestation.parse_statement(payload, TYPE, "x")) == "ATTESTATION-INVALID"


class TestFiles:
    def test_are_whole_or_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "new/envelope"
        attestation.write_file(path, b"first")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(attestation.os, "fsync", full)
        assert code_of(lambda: attestation.write_file(path, b"second")) == "ATTESTATION-WRITE"
        assert path.read_bytes() == b"first"
        assert [item.name for item in path.parent.iterdir()] == ["envelope"]

    def test_a_missing_library_is_said_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, key: Ed25519PrivateKey
    ) -> None:
        def missing(name: str) -> Any:
            raise ImportError(name)

        monkeypatch.setattr(attestation.importlib, "import_module", missing)
        assert code_of(lambda: attestation.sign(attestation.Envelope(PAYLOAD), key)) == "ATTESTATION-LIBRARY"
