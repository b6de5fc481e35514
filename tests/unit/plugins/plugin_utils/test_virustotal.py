# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5: VirusTotal is asked by hash, within its quota, from the controller; what it did not answer is no pass."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.rampart.ollama.plugins.action import ollama_model_virustotal
from ansible_collections.rampart.ollama.plugins.plugin_utils import virustotal
from ansible_collections.rampart.ollama.plugins.plugin_utils.virustotal import Reputation, Settings, look_up
from ansible_collections.rampart.ollama.plugins.plugin_utils.virustotal_state import DAY, Quota, State

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from virustotal_stand_in import BAD, GOOD, KEY, NEW, FakeVirusTotal, report_of

pytestmark = pytest.mark.row("S5")
NOW = 1_800_000_000.0


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeVirusTotal]:
    made = FakeVirusTotal(tmp_path)
    yield made
    made.close()


class Clock:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.time = NOW
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ask(fake: FakeVirusTotal, tmp_path: Path, clock: Clock) -> Callable[..., Reputation]:
    def run(*digests: str, **changes: Any) -> Reputation:
        known: dict[str, Any] = {
            "api_key": KEY,
            "state": tmp_path / "vt" / "state.json",
            "ca_bundle": fake.ca_bundle,
            "proxy": "",
            "timeout": 5.0,
            "host": fake.host,
        }
        return look_up(digests, Settings(**{**known, **changes}), lambda: clock.time, clock.sleep)

    return run


def codes(report: Reputation) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity.value) for finding in report.findings]


def test_s5_a_hash_is_all_that_is_sent(ask: Callable[..., Reputation], fake: FakeVirusTotal) -> None:
    report = ask("sha256:" + GOOD.upper())
    assert fake.seen == [("GET", "/api/v3/files/" + GOOD, KEY)]
    assert (codes(report), report.verdict, report.check.status) == ([], "passed", "passed")
    assert report.as_result()["files"] == [
        {"digest": "sha256:" + GOOD, "known": True, "malicious": 0, "suspicious": 0, "engines": 64}
    ]


def test_s5_a_known_bad_hash_is_critical(ask: Callable[..., Reputation]) -> None:
    report = ask(GOOD, BAD)
    assert codes(report) == [("VT-MALICIOUS", "critical")]
    assert report.findings[0].subject == "sha256:" + BAD
    assert (report.verdict, report.check.status) == ("failed", "failed")


def test_s5_a_suspicious_hash_is_medium(ask: Callable[..., Reputation], fake: FakeVirusTotal) -> None:
    fake.answers[GOOD] = (200, report_of(GOOD, malicious=0, suspicious=2, undetected=10))
    report = ask(GOOD)
    assert (codes(report), report.check.status) == ([("VT-SUSPICIOUS", "medium")], "failed")


@pytest.mark.parametrize("seen_but_not_scanned", [False, True])
def test_s5_an_unknown_hash_is_told_and_is_no_pass(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, seen_but_not_scanned: bool
) -> None:
    if seen_but_not_scanned:
        fake.answers[NEW] = (200, report_of(NEW))
    report = ask(GOOD, NEW)
    assert codes(report) == [("VT-UNKNOWN", "info")]
    assert (report.verdict, report.check.status) == ("passed", "unknown")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b"", "VT-KEY-REFUSED"),
        (403, b"", "VT-KEY-REFUSED"),
        (429, b"", "VT-QUOTA"),
        (500, b"", "VT-UNAVAILABLE"),
        (302, b"", "VT-UNAVAILABLE"),
        (204, b"", "VT-UNAVAILABLE"),
        (200, b"", "VT-UNAVAILABLE"),
        (200, b"[]", "VT-UNAVAILABLE"),
        (200, b"[" * 100000, "VT-UNAVAILABLE"),
        (200, b'{"data": {}}', "VT-UNAVAILABLE"),
        (200, b'{"data": {"id": "x", "attributes": {"last_analysis_stats": []}}}', "VT-UNAVAILABLE"),
        (200, report_of(BAD, undetected=60), "VT-UNAVAILABLE"),
        (200, report_of(GOOD, malicious=None, undetected=60), "VT-UNAVAILABLE"),
        (200, report_of(GOOD, malicious=-1, undetected=60), "VT-UNAVAILABLE"),
        (200, report_of(GOOD, malicious=False, undetected=60), "VT-UNAVAILABLE"),
    ],
)
def test_s5_every_other_answer_is_a_finding_and_ends_the_asking(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, tmp_path: Path, status: int, body: bytes, code: str
) -> None:
    fake.answers[GOOD] = (status, body)
    report = ask(GOOD, NEW)
    assert codes(report) == [(code, "medium")]
    assert (report.verdict, report.check.status, report.answers) == ("failed", "unknown", {})
    # No redirect was followed, and nobody was asked on.
    assert len(fake.seen) == 1
    # What was no answer is not remembered as one.
    assert State(tmp_path / "vt" / "state.json", Quota(), DAY).known_answer(GOOD, NOW) is None


def test_s5_a_server_that_hangs_drips_or_breaks_off_is_left(
    ask: Callable[..., Reputation], fake: FakeVirusTotal
) -> None:
    sent: list[int] = []

    def act(handler: Any) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while len(fake.seen) == 2 and len(sent) < 1000 and not fake.done.wait(0.01):
                handler.wfile.write(b" ")
                sent.append(1)
            if len(fake.seen) != 3:
                fake.done.wait(20)

    fake.act = act
    for kind in ("hangs", "drips", "breaks off"):
        report = ask(GOOD, timeout=0.4)
        assert codes(report) == [("VT-UNAVAILABLE", "medium")], kind
    assert len(fake.seen) == 3
    assert len(sent) < 1000


def test_s5_an_endless_answer_is_cut(ask: Callable[..., Reputation], fake: FakeVirusTotal) -> None:
    fake.answers[GOOD] = (200, b" " * (virustotal.ANSWER_MAX_BYTES + 1))
    assert "longer than" in ask(GOOD).findings[0].evidence


def test_s5_an_untrusted_certificate_gets_no_key(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    report = ask(GOOD, ca_bundle=str(other))
    assert codes(report) == [("VT-UNAVAILABLE", "medium")]
    assert "certificate" in report.findings[0].evidence
    assert fake.seen == []
    assert codes(ask(GOOD, ca_bundle="/nonexistent.pem")) == [("VT-UNAVAILABLE", "medium")]


@pytest.mark.parametrize("key", ["", "short", "x" * 31 + "\n", "a" * 64 + "\r\nX: y", "0123456789abcdef " * 4])
def test_s5_a_key_that_is_none_is_refused_without_being_shown(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, key: str
) -> None:
    report = ask(GOOD, api_key=key)
    assert codes(report) == [("VT-KEY-REFUSED", "medium")]
    assert fake.seen == []
    assert not key or key not in str(report.findings)


def test_s5_the_key_is_in_no_text(ask: Callable[..., Reputation], fake: FakeVirusTotal, tmp_path: Path) -> None:
    fake.answers[GOOD] = (500, KEY.encode())
    report = ask(GOOD)
    assert KEY not in str(report.as_result())
    assert KEY not in repr(Settings(api_key=KEY, state=tmp_path / "x"))
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "vt").iterdir())


def test_s5_what_is_no_digest_is_refused_before_anything_is_asked(
    ask: Callable[..., Reputation], fake: FakeVirusTotal
) -> None:
    for wrong in ("", "sha256:abc", "md5:" + "a" * 32, GOOD + "/comments", GOOD + "\n"):
        report = ask(GOOD, wrong)
        assert codes(report) == [("VT-DIGEST-INVALID", "high")]
        assert report.check.status == "unknown"
    assert fake.seen == []


def test_s5_the_proxy_of_the_environment_is_used(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        client, _address = listening.accept()
        heads.append(client.recv(4096))
        client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        client.close()

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:s3cret@127.0.0.1:{0}".format(listening.getsockname()[1]))
    report = ask(GOOD, proxy=None)
    thread.join(5)
    listening.close()
    assert heads[0].startswith("CONNECT {0} HTTP/1.1".format(fake.host).encode())
    assert codes(report) == [("VT-UNAVAILABLE", "medium")]
    assert "s3cret" not in str(report.findings)
    assert KEY.encode() not in heads[0]
    assert fake.seen == []


def test_s5_the_fifth_question_of_a_minute_waits(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, clock: Clock
) -> None:
    report = ask(*["{0:064x}".format(number) for number in range(9)])
    assert len(report.answers) == 9
    assert clock.slept == [60.0, 60.0]


def test_s5_the_quota_holds_over_runs_and_is_no_pass(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, clock: Clock
) -> None:
    names = ["{0:064x}".format(number) for number in range(6)]
    assert len(ask(*names[:4]).answers) == 4
    clock.time += 10
    report = ask(*names, max_wait=20)
    # Four are remembered; the fifth would have to wait for 50 seconds.
    assert len(report.answers) == 4
    assert codes(report)[-1] == ("VT-QUOTA", "medium")
    assert report.check.status == "unknown"
    assert len(fake.seen) == 4


def test_s5_a_day_has_its_quota_too(ask: Callable[..., Reputation], clock: Clock) -> None:
    names = ["{0:064x}".format(number) for number in range(4)]
    report = ask(*names, quota=Quota(per_minute=10, per_day=3))
    assert (len(report.answers), codes(report)[-1][0]) == (3, "VT-QUOTA")
    clock.time += DAY
    assert len(ask(*names, quota=Quota(per_minute=10, per_day=3)).answers) == 4


def test_s5_an_answer_is_remembered_until_it_is_too_old(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, clock: Clock
) -> None:
    for days, asked in ((0, 1), (6.9, 1), (0.2, 2)):
        clock.time += days * DAY
        assert codes(ask(BAD)) == [("VT-MALICIOUS", "critical")]
        assert len(fake.seen) == asked


def test_s5_in_check_mode_nobody_is_asked_and_nothing_is_written(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, tmp_path: Path
) -> None:
    report = ask(GOOD, cached_only=True)
    assert (report.answers, codes(report), report.check.status, fake.seen) == ({}, [], "unknown", [])
    assert not (tmp_path / "vt").exists()


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"asked": {}, "answers": {}}', b'{"asked": ["x"], "answers": {}}', b"[" * 100000, b"\xff"],
)
def test_s5_a_broken_record_is_told_and_breaks_no_quota(
    ask: Callable[..., Reputation], fake: FakeVirusTotal, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "vt" / "state.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert codes(ask(GOOD)) == [("VT-STATE", "medium")]
    assert fake.seen == []
    assert path.read_bytes() == content


def test_s5_the_task_fails_with_its_code_and_never_holds_the_key(
    fake: FakeVirusTotal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virustotal.Settings, "__init__", _for(fake, virustotal.Settings.__init__))
    arguments = {
        "digests": ["sha256:" + BAD],
        "api_key": KEY,
        "state_file": str(tmp_path / "state.json"),
        "ca_bundle": fake.ca_bundle,
    }
    result = _run(arguments)
    assert (result["failed"], result["changed"]) == (True, False)
    assert result["msg"].startswith("VT-MALICIOUS: sha256:" + BAD)
    assert KEY not in str(result)
    reported = _run({**arguments, "on_failure": "report"})
    assert not reported.get("failed")
    assert reported["checks"][0]["status"] == "failed"
    # In check mode what is remembered is told, and nobody is asked.
    asked = len(fake.seen)
    predicted = _run({**arguments, "digests": [BAD, NEW], "on_failure": "report"}, check=True)
    assert [item["digest"] for item in predicted["files"]] == ["sha256:" + BAD]
    assert len(fake.seen) == asked


def _for(fake: FakeVirusTotal, honest: Callable[..., None]) -> Callable[..., None]:
    def made(self: Settings, **given: Any) -> None:
        honest(self, host=fake.host, proxy="", **given)

    return made


def _run(arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
    task = Task.load({"action": "rampart.ollama.ollama_model_virustotal"}, loader=DataLoader())
    task.args = arguments
    task.check_mode = check
    connection = type("Connection", (), {"_shell": type("Shell", (), {"tmpdir": None})()})()
    plugin = ollama_model_virustotal.ActionModule(task, connection, None, None, None, None)
    result: dict[str, Any] = plugin.run(task_vars={})
    return result
