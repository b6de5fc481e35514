# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S2, S3, P1: the store holds what was approved, and the gateway is the only way to it."""

from __future__ import annotations

import json
import re

import pytest

STORE = "/srv/rampart/store"

# The host has no curl; its Python asks, and prints status and body.
ASK = """python3 - <<'END'
import http.client, ssl
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection({address!r}, 8443, context=context, timeout=30)
connection.request({method!r}, {path!r}, body={body!r}, headers={headers!r})
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode())
END"""


def ask(host, method, path, *, address="127.0.0.1", body=None, key=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    output = host.check_output(
        ASK.format(address=address, method=method, path=path, body=body, headers=headers)
    )
    status, _newline, text = output.partition("\n")
    return int(status), text


@pytest.mark.row("S3")
def test_every_blob_is_named_by_its_own_hash(host):
    lines = host.check_output(f"sha256sum {STORE}/blobs/*").splitlines()
    assert lines
    for line in lines:
        digest, path = line.split()
        assert path.endswith(f"/sha256-{digest}")


@pytest.mark.row("S2")
def test_only_root_can_write_to_the_store(host):
    as_it_should = "-user root -group root \\( -type d -perm 0755 -o -type f -perm 0444 \\)"
    wrong = host.check_output(f"find {STORE} ! \\( {as_it_should} \\) ! -name '.*'")
    assert wrong == ""
    assert host.check_output(f"find {STORE}/manifests -type f") != ""


@pytest.mark.row("S2")
def test_nothing_is_left_of_the_fetch(host):
    assert host.check_output("find /srv/rampart/quarantine -type f") == ""
    assert host.check_output(f"find {STORE} -name '*partial*' -o -path '*/.publishing/*'") == ""


@pytest.mark.row("P1")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_gateway_refuses_who_has_no_key(host, address):
    status, text = ask(host, "POST", "/api/chat", address=address, body="{}")
    assert status == 401
    assert json.loads(text)["error"]["code"] == "GW-UNAUTHENTICATED"


@pytest.mark.row("P1")
@pytest.mark.parametrize("key", ["rmp_" + "A" * 43, "x", "rmp_"])
def test_gateway_refuses_an_unknown_key(host, key):
    assert ask(host, "GET", "/api/tags", key=key)[0] == 401


@pytest.mark.row("P1")
def test_metrics_are_not_served_to_users(host):
    assert ask(host, "GET", "/metrics")[0] in (401, 403, 404)


@pytest.mark.row("P1")
def test_edge_listens_on_the_loopback_only(host):
    listeners = host.check_output("ss --no-header --listening --numeric --tcp 'sport = :8443'").splitlines()
    addresses = {line.split()[3] for line in listeners}
    assert addresses == {"127.0.0.1:8443", "[::1]:8443"}


@pytest.mark.row("P1")
def test_stock_nginx_does_not_run(host):
    assert host.service("rampart-edge").is_running
    assert host.run("systemctl is-enabled nginx.service").stdout.strip() == "masked"


@pytest.mark.row("P7")
def test_audit_log_holds_questions_only_as_hashes(host):
    log = host.file("/srv/rampart/log/gateway/audit.jsonl")
    assert (log.uid, log.mode & 0o007) == (10002, 0)
    records = [json.loads(line) for line in log.content_string.splitlines()]
    assert not any({"query", "prompt", "messages", "response"} & set(record) for record in records)
    # A line written before the server is asked is followed by the guide's record of the whole request.
    records = [record for record in records if record["event"] == "request_completed"]
    assert records
    for record in records:
        assert {"timestamp", "user_id", "query_hash", "query_length", "model", "latency_ms", "action"} <= set(
            record
        )
        assert not {"query", "prompt", "messages", "response"} & set(record)


@pytest.mark.row("T2")
def test_secrets_are_in_files_of_their_reader_only(host):
    secrets = host.file("/etc/rampart/gateway/secrets.json")
    assert (secrets.uid, secrets.gid, secrets.mode) == (0, 10002, 0o640)
    hashes = json.loads(secrets.content_string)
    assert all(user["key_hash"].startswith("hmac-sha256:") for user in hashes["users"])
    # Neither a key nor what keys are hashed with shows in what anybody can list.
    seen = host.check_output(
        "docker inspect rampart-gateway rampart-ollama rampart-relay; ps -eo args; journalctl --no-pager -q"
    )
    # The keys that these tests make up themselves are logged by sudo; no other may be seen anywhere.
    assert set(re.findall(r"rmp_[A-Za-z0-9_-]{43}", seen)) <= {"rmp_" + "A" * 43}
    assert hashes["hash_key"] not in seen
    assert hashes["query_hash_key"] not in seen
