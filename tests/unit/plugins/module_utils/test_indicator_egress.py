# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S7: what the egress proxy refused, or should have refused, is an indicator; a fetch as it should be is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import indicator_egress
from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.indicator_egress import egress_indicators, read_log

pytestmark = pytest.mark.row("S7")

CONFIGURATION = Path(__file__).parents[4] / "roles/egress_proxy/templates/squid.conf.j2"
HOSTS = ["registry.ollama.ai", "cdn.example.org"]


def record(**changes: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "timestamp": "2026-11-24T12:00:00.123Z",
        "method": "CONNECT",
        "host": "registry.ollama.ai",
        "port": "443",
        "sni": "registry.ollama.ai",
        "ssl_bump": "splice",
        "result": "TCP_TUNNEL",
        "status": "200",
        "bytes_from_client": 700,
        "bytes_to_client": 5000,
        "duration_ms": 200,
        "server": "192.0.2.1",
        "user_agent": "-",
    }
    seen.update(changes)
    return seen


def judge(*records: dict[str, Any]) -> list[Finding]:
    return egress_indicators(records, HOSTS)


def test_s7_the_log_has_the_fields_that_are_read_here() -> None:
    line = next(line for line in CONFIGURATION.read_text(encoding="utf-8").splitlines() if "logformat" in line)
    assert set(re.findall(r'"([a-z_]+)":', line)) == set(record())


def test_s7_a_fetch_as_it_should_be_is_no_indicator() -> None:
    assert judge(record(), record(host="CDN.example.org", sni="cdn.example.org"), record(sni="-")) == []
    # Squid writes the CONNECT before it knows how it will end.
    assert judge(record(result="NONE_NONE", sni="-", ssl_bump="peek")) == []
    assert judge() == []


def test_s7_what_the_role_asks_for_itself_is_no_indicator() -> None:
    probe = record(method="GET", host="egress.invalid", port="80", result="TCP_DENIED", status="403", sni="-")
    assert judge(probe) == []
    # The same name asked for as a program would ask for it is none of the role's.
    assert len(judge({**probe, "method": "CONNECT"})) == 1


def test_s7_a_refused_destination_is_named_once_with_its_attempts() -> None:
    denied = record(host="evil.example", result="TCP_DENIED", status="403", sni="-", ssl_bump="-")
    (finding,) = judge(denied, record(), denied, denied)
    assert finding.code == "IOC-EGRESS-DENIED"
    assert finding.severity is Severity.HIGH
    assert finding.subject == "evil.example:443"
    assert "3 times" in finding.evidence


@pytest.mark.parametrize("result", ["TCP_DENIED", "TCP_DENIED_ABORTED", "tcp_denied", "TCP_DENIED_REPLY"])
@pytest.mark.parametrize("port", ["443", "22", "11434"])
def test_s7_every_kind_of_refusal_counts(result: str, port: str) -> None:
    # Also to a listed host: another port, or a name that resolves to a private address.
    (finding,) = judge(record(result=result, port=port))
    assert finding.subject == "registry.ollama.ai:" + port


def test_s7_a_greeting_for_another_name_than_listed_is_an_attempt() -> None:
    (finding,) = judge(record(sni="evil.example", ssl_bump="terminate", result="NONE_NONE"))
    assert finding.code == "IOC-EGRESS-DENIED"
    assert "evil.example" in finding.evidence


@pytest.mark.parametrize("changes", [{"host": "evil.example"}, {"sni": "evil.example"}, {"host": "198.51.100.7"}])
def test_s7_a_tunnel_to_what_is_not_listed_is_the_worst(changes: dict[str, str]) -> None:
    (finding,) = judge(record(**changes))
    assert (finding.code, finding.severity) == ("IOC-EGRESS-UNLISTED", Severity.CRITICAL)


def test_s7_a_flood_of_destinations_stays_a_short_list() -> None:
    found = judge(*(record(host="h{0}.example".format(number), result="TCP_DENIED") for number in range(5000)))
    assert len(found) == indicator_egress.FINDINGS_MAX + 1
    assert "4980 more" in found[-1].evidence


def test_s7_a_log_is_read_line_by_line_and_rubbish_is_not_clean() -> None:
    lines = [json.dumps(record()), "", "half a li", "[1, 2]", "5", '{"host": "' + "x" * 20_000 + '"}', "[" * 10_000]
    records, unread = read_log("\n".join(lines))
    assert (len(records), unread) == (1, 5)
    (finding,) = egress_indicators(records, HOSTS, unread)
    assert (finding.code, finding.severity) == ("IOC-EGRESS-LOG", Severity.LOW)


def test_s7_a_log_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicator_egress, "RECORDS_MAX", 10)
    assert [len(read_log((json.dumps(record()) + "\n") * 15)[0]), read_log((json.dumps(record()) + "\n") * 15)[1]] == [
        10,
        5,
    ]


@pytest.mark.parametrize("rubbish", [None, 5, [], {}, {"host": None, "result": ["TCP_DENIED"]}])
def test_s7_records_of_any_shape_are_no_error(rubbish: Any) -> None:
    odd = dict.fromkeys(record(), rubbish)
    assert egress_indicators([odd, {}], HOSTS) in ([], egress_indicators([odd], HOSTS))


def test_s7_names_in_a_log_cannot_move_a_cursor() -> None:
    (finding,) = judge(record(host="evil\x1b[2J.example\n" + "x" * 10_000, result="TCP_DENIED"))
    assert finding.subject.isprintable()
    assert len(finding.subject) <= 500
