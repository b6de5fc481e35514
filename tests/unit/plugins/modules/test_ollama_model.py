# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S1, S2, I2: the module ollama_model, from name to published model, against a fake engine and registry.

The engine is fake; what it runs is the real fetcher, which talks to a real proxy socket, TLS server and quarantine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import acquire, fetch_container, sources
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.registry import Limits
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profile_data import seccomp_text


@pytest.fixture
def host(
    maker: Any,
    internet: Any,
    fake_engine: Any,
    run_fetcher: Any,
    run_module: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unjudged: None,
) -> Any:
    """A host with a store, a quarantine, an engine and a proxy; `call(model, ...)` runs the module on it."""
    quarantine = tmp_path / "quarantine"
    quarantine.mkdir(mode=0o700)
    fake_engine.run = run_fetcher
    profile = tmp_path / "rampart.json"
    profile.write_text(seccomp_text())

    def quick(total_seconds: float, connections: int, split_from: int) -> Limits:
        return Limits(5, total_seconds, 2, 0.01, connections, split_from)

    monkeypatch.setattr(sources, "Limits", quick)

    def call(made: Any, check: bool = False, diff: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "name": made.reference,
            "approval": made.entry(),
            "store": str(maker.root),
            "quarantine": str(quarantine),
            "fetcher_image": "sha256:fetcher",
            "egress_socket": str(internet.socket_path),
            "ca_bundle": str(internet.ca_path),
            "fetcher_uid": os.getuid(),
            "seccomp_profile": str(profile),
            "docker_socket": str(fake_engine.socket_path),
            "redirect_hosts": ["cdn.example.org"],
            "owner_uid": os.getuid(),
            "owner_gid": os.getgid(),
            "timeout": 30,
        }
        arguments.update(changes)
        given = {key: value for key, value in arguments.items() if value is not None}
        result: dict[str, Any] = run_module("ollama_model", given, check=check, diff=diff)
        return result

    return SimpleNamespace(call=call, maker=maker, internet=internet, engine=fake_engine, quarantine=quarantine)


def approvals(*models: Any) -> dict[str, Any]:
    return {item.name.key: item for item in (approval_from_entry(made.entry()) for made in models)}


def refused(result: dict[str, Any]) -> str:
    assert result["failed"]
    assert len(result["findings"]) == 1
    code: str = result["findings"][0]["code"]
    assert result["msg"].startswith(code + ": ")
    assert result["findings"][0]["remedy"]
    return code


def test_s2_an_approved_model_is_fetched_published_and_verified(host: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", os.urandom(400_000), b"license")
    host.internet.add(made)
    result = host.call(made, diff=True)
    assert result["changed"]
    assert result["fetched"] == sorted(made.blobs)
    assert result["model"]["digest"] == made.digest
    assert result["diff"]["before"] == ""
    assert made.weights in result["diff"]["after"]
    assert result["transfer"] == {"bytes": sum(map(len, made.blobs.values())), "blobs": 3, "cuts": 0}
    assert verify(host.maker.store, approvals(made)).findings == []
    assert list(host.quarantine.iterdir()) == []
    assert host.engine.containers == {}


def test_s2_a_second_run_changes_nothing_and_needs_no_engine(host: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w" * 1000)
    host.internet.add(made)
    assert host.call(made)["changed"]
    before = host.maker.tree()
    again = host.call(made, docker_socket="/nonexistent", egress_socket="/nonexistent", fetcher_image=None, diff=True)
    assert not again["changed"]
    assert again["fetched"] == []
    assert again["diff"] == {"before": "", "after": ""}
    assert host.maker.tree() == before


def test_i2_the_container_has_no_network_no_rights_and_no_secret(host: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w")
    host.internet.add(made)
    host.call(made)
    config = host.engine.created[0]
    limits = config["HostConfig"]
    assert config["Image"] == "sha256:fetcher"
    assert config["User"] == "{0}:{0}".format(os.getuid())
    assert config["Labels"] == {"rampart.component": "fetcher"}
    assert limits["NetworkMode"] == "none"
    assert limits["IpcMode"] == "none"
    assert limits["ReadonlyRootfs"] is True
    assert limits["CapDrop"] == ["ALL"]
    assert "CapAdd" not in limits
    assert limits["SecurityOpt"][:2] == ["no-new-privileges:true", "seccomp=" + seccomp_text()]
    assert limits["Privileged"] is False
    assert (limits["Memory"], limits["MemorySwap"], limits["PidsLimit"]) == (512 << 20, 512 << 20, 64)
    assert "noexec" in limits["Tmpfs"]["/tmp"]
    writable = [item["Target"] for item in limits["Mounts"] if not item["ReadOnly"]]
    assert writable == ["/quarantine"]
    assert not any("docker" in item["Source"] and item["Source"].endswith(".sock") for item in limits["Mounts"])
    assert [item.partition("=")[0] for item in config["Env"]] == ["RAMPART_JOB"]


@pytest.mark.parametrize("prepared", [True, False])
def test_s2_check_mode_predicts_and_writes_nothing(host: Any, model: Callable[..., Any], prepared: bool) -> None:
    made = model("test:1", b"w" * 1000)
    changes: dict[str, Any] = {"docker_socket": "/nonexistent", "egress_socket": "/nonexistent", "fetcher_image": None}
    if not prepared:
        changes.update(store="/nonexistent/store", quarantine="/nonexistent/quarantine")
    result = host.call(made, check=True, diff=True, **changes)
    assert result["changed"]
    assert result["fetched"] == sorted(made.blobs)
    assert result["diff"]["after"].count("\n") == 3
    assert host.maker.tree() == {}
    assert list(host.quarantine.iterdir()) == []
    assert host.engine.seen == []


def test_s2_only_what_is_missing_is_fetched(host: Any, model: Callable[..., Any]) -> None:
    first, second = model("test:1", b"one", b"shared"), model("test:2", b"two", b"shared")
    host.internet.add(first)
    host.internet.add(second)
    host.call(first)
    assert host.call(second)["fetched"] == sorted(set(second.blobs) - set(first.blobs))
    assert verify(host.maker.store, approvals(first, second)).findings == []


@pytest.mark.parametrize("damage", ["flip", "mode", "link", "missing", "hardlink", "manifest", "directory"])
def test_s2_a_damaged_store_converges(host: Any, model: Callable[..., Any], damage: str, tmp_path: Path) -> None:
    made = model("test:1", b"w" * 1000)
    host.internet.add(made)
    host.call(made)
    path = host.maker.blob(made.weights)
    if damage == "flip":
        host.maker.rewrite(path, b"v" * 1000)
    elif damage == "mode":
        path.chmod(0o666)
    elif damage == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "missing":
        path.unlink()
    elif damage == "hardlink":
        os.link(path, tmp_path / "second name")
    elif damage == "manifest":
        host.maker.rewrite(host.maker.manifest(made), b"{}")
    else:
        (host.maker.root / "manifests/registry.ollama.ai").chmod(0o777)
    assert verify(host.maker.store, approvals(made)).verdict == "failed"
    assert host.call(made, check=True)["changed"]
    fetched = [] if damage in ("mode", "hardlink", "manifest", "directory") else [made.weights]
    assert host.call(made)["fetched"] == fetched
    report = verify(host.maker.store, approvals(made))
    assert report.findings == []
    assert not host.call(made)["changed"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "someone/test:1"}, "SOURCE-REFUSED"),
        ({"name": "evil.example/library/test:1"}, "SOURCE-REFUSED"),
        ({"name": "../test"}, "NAME-INVALID"),
        ({"name": "test:cloud"}, "NAME-CLOUD"),
        ({"name": "test:2"}, "APPROVAL-MISSING"),
        ({"approval": None}, "APPROVAL-MISSING"),
        ({"approval": {}}, "APPROVAL-MISSING"),
        ({"approval": {"reference": "test:1"}}, "APPROVAL-INCOMPLETE"),
        ({"approval": {"reference": "test:1", "digest": "abcd"}}, "APPROVAL-INCOMPLETE"),
        ({"approval": {"reference": "test:1", "digest": "abcd", "blobs": [{}]}}, "APPROVAL-INVALID"),
        ({"fetcher_image": "sha256:other"}, "FETCH-IMAGE-MISSING"),
        ({"fetcher_image": None}, "FETCH-IMAGE-MISSING"),
        ({"docker_socket": "/nonexistent"}, "ENGINE-DOWN"),
        ({"egress_socket": "/nonexistent"}, "FETCH-UNREACHABLE"),
        ({"ca_bundle": "/nonexistent"}, "FETCH-CA-BUNDLE"),
        ({"quarantine": "/nonexistent"}, "FETCH-QUARANTINE"),
        ({"store": "/nonexistent"}, "STORE-MISSING"),
    ],
)
def test_s1_bad_input_is_one_finding_and_no_byte_moves(
    host: Any, model: Callable[..., Any], changes: dict[str, Any], code: str
) -> None:
    made = model("test:1", b"w")
    host.internet.add(made)
    assert refused(host.call(made, **changes)) == code
    assert host.internet.connected == []
    assert set(host.maker.tree()) <= {".lock"}
    assert list(host.quarantine.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("lie", "FETCH-DIGEST-MISMATCH"),
        ("moved", "FETCH-DIGEST-MISMATCH"),
        ("long", "FETCH-TOO-LARGE"),
        ("short", "FETCH-SIZE-MISMATCH"),
        ("elsewhere", "FETCH-REDIRECT-REFUSED"),
        ("unlisted", "FETCH-REFUSED-BY-PROXY"),
        ("gone", "FETCH-NOT-FOUND"),
        ("broken", "FETCH-UNREACHABLE"),
        ("stranger", "FETCH-TLS"),
    ],
)
def test_s2_a_source_that_lies_or_fails_leaves_nothing_in_the_store(
    host: Any, model: Callable[..., Any], fault: str, code: str
) -> None:
    made = model("test:1", b"w" * 1000)
    host.internet.add(made)
    changes: dict[str, Any] = {}
    if fault in ("lie", "long", "short"):
        host.internet.blobs[made.weights] = b"w" * {"lie": 999, "long": 2000, "short": 10}[fault]
        if fault == "lie":
            host.internet.blobs[made.weights] += b"x"
    elif fault == "moved":
        host.internet.add(model("test:1", b"another"))
    elif fault == "elsewhere":
        changes["redirect_hosts"] = ["other.example.org"]
    elif fault == "unlisted":
        host.internet.hosts = ("cdn.example.org",)
    elif fault == "gone":
        del host.internet.blobs[made.weights]
    elif fault == "broken":
        host.internet.answer = lambda host, path, headers: (500, {}, b"")
    else:
        changes["ca_bundle"] = None
    assert refused(host.call(made, **changes)) == code
    assert set(host.maker.tree()) == {".lock"}
    assert host.engine.containers == {}
    if fault in ("moved", "unlisted", "stranger"):
        assert list(host.quarantine.iterdir()) == []
    if fault != "moved":
        host.internet.hosts = ("registry.ollama.ai", "cdn.example.org")
        host.internet.blobs.update(made.blobs)
        host.internet.answer = host.internet.honest
        assert host.call(made)["changed"]
        assert verify(host.maker.store, approvals(made)).findings == []


def test_s2_a_fetcher_that_lies_about_its_work_is_not_believed(host: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w" * 1000)

    def lying(config: dict[str, Any]) -> tuple[int, str, str]:
        directory = Path(config["HostConfig"]["Mounts"][0]["Source"])
        (directory / "manifest").write_bytes(made.manifest)
        for digest, data in made.blobs.items():
            (directory / digest.replace(":", "-")).write_bytes(data[:-1] + b"!")
        return 0, '{"ok": true, "bytes": 1}', ""

    host.engine.run = lying
    assert refused(host.call(made)) == "PUBLISH-DIGEST-MISMATCH"
    assert set(host.maker.tree()) == {".lock"}


@pytest.mark.parametrize(
    ("status", "stdout", "words"),
    [
        (1, "", "it said: boom"),
        (0, "", "status 0"),
        (0, '{"ok": false}', "status 0"),
        (1, '{"ok": false, "finding": {"code": "ROOT-ME"}}', "status 1"),
        (
            1,
            '{"finding": {"code": "HOST-FINE", "severity": "info", "subject": "", "evidence": "", "remedy": ""}}',
            "status 1",
        ),
        (137, "", "memory"),
    ],
)
def test_s2_a_fetcher_that_says_nothing_sensible_is_reported(
    host: Any, model: Callable[..., Any], status: int, stdout: str, words: str
) -> None:
    host.engine.run = lambda config: (status, stdout, "boom")
    result = host.call(model("test:1", b"w"))
    assert refused(result) == "FETCH-FAILED"
    assert words in result["msg"]
    assert host.engine.containers == {}


@pytest.mark.parametrize("call", ["create", "start", "wait", "logs"])
def test_s2_the_container_is_gone_whatever_the_engine_says(host: Any, model: Callable[..., Any], call: str) -> None:
    host.engine.fail = {"/" + call: 500}
    assert refused(host.call(model("test:1", b"w"))) == "ENGINE-ERROR"
    assert host.engine.containers == {}


def test_s2_a_fetcher_that_does_not_end_is_removed(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_container, "GRACE_SECONDS", 0.2)
    host.engine.run = lambda config: (None, "", "")
    assert refused(host.call(model("test:1", b"w"), timeout=0)) == "FETCH-TIMEOUT"
    assert host.engine.containers == {}


def test_s2_a_container_left_by_a_killed_run_is_replaced(host: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w")
    host.internet.add(made)
    host.engine.containers["rampart-fetcher"] = {"Config": {"Labels": {"rampart.component": "fetcher"}}}
    assert host.call(made)["changed"]


def test_s2_a_strangers_container_of_that_name_is_left_alone(host: Any, model: Callable[..., Any]) -> None:
    host.engine.containers["rampart-fetcher"] = {"Config": {"Labels": {}}}
    assert refused(host.call(model("test:1", b"w"))) == "ENGINE-ERROR"
    assert "rampart-fetcher" in host.engine.containers


@pytest.mark.parametrize("check", [True, False])
def test_s2_a_full_disk_is_said_before_anything_moves(
    host: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    full = SimpleNamespace(f_bavail=10, f_frsize=4096)
    monkeypatch.setattr(acquire.os, "statvfs", lambda path: full)
    result = host.call(model("test:1", b"w"), check=check)
    assert refused(result) == "DISK-FULL"
    assert "MiB are needed" in result["msg"]
    assert host.internet.connected == []


def test_s1_a_cloud_stub_is_never_published(host: Any, model: Callable[..., Any]) -> None:
    made = model("test:1", b"w", config={"remote_host": "https://ollama.com", "remote_model": "x"})
    host.internet.add(made)
    assert refused(host.call(made)) == "STORE-CLOUD-STUB"
    assert set(host.maker.tree()) == {".lock"}


def test_s2_removing_predicts_removes_and_then_changes_nothing(host: Any, model: Callable[..., Any]) -> None:
    first, second = host.maker.put(model("one:1", b"one", b"shared")), host.maker.put(model("two:1", b"two", b"shared"))
    gone = sorted(set(first.blobs) - set(second.blobs))
    before = host.maker.tree()
    predicted = host.call(first, check=True, diff=True, state="absent", quarantine=None, approval=None)
    assert (predicted["changed"], predicted["removed"]) == (True, gone)
    assert "one:1" in predicted["diff"]["before"]
    assert host.maker.tree() == before
    done = host.call(first, state="absent", quarantine=None, approval=None)
    assert (done["changed"], done["removed"]) == (True, gone)
    assert verify(host.maker.store, approvals(second)).findings == []
    assert not host.call(first, state="absent", quarantine=None, approval=None)["changed"]
    assert not host.call(first, state="absent", quarantine=None, approval=None, store="/nonexistent")["changed"]
