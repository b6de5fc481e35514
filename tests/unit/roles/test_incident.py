# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows C7, I5: the quarantine as rendered. tests/integration/incident sends packets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles" / "incident"
CONTROLLER, CONTROLLER6 = "192.0.2.10", "2001:db8::10"

pytestmark = [pytest.mark.row("C7"), pytest.mark.row("I5")]


def render(**changes: Any) -> str:
    """Return the quarantine, with the controller's connection as the only way in."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    environment.tests["search"] = lambda text, pattern: re.search(pattern, text) is not None  # Ansible's
    values = {
        "ansible_managed": "test",
        "incident_quarantine_peers": [CONTROLLER, CONTROLLER6],
        "incident_quarantine_ports": [22],
        "incident_keep_sessions": False,
        **changes,
    }
    text = (ROLE / "templates" / "quarantine.nft.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(values)


def chain(text: str, name: str) -> list[str]:
    """Return the lines of one chain without comments, the hook first."""
    found = re.search(rf"\tchain {name} \{{\n(.*?)\n\t\}}", text, re.DOTALL)
    assert found, f"there is no chain {name}"
    lines = [line.strip() for line in found.group(1).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def tcp(rules: list[str]) -> list[str]:
    return [rule for rule in rules if "tcp " in rule]


@pytest.mark.parametrize("hook", ["input", "forward", "output"])
def test_default_deny_before_every_filter(hook: str) -> None:
    rules = chain(render(), hook)
    assert rules[0] == f"type filter hook {hook} priority -190; policy drop;"
    assert rules[-1] == 'counter drop comment "quarantined"'


def test_nobody_elses_table_is_touched() -> None:
    text = render()
    assert "flush" not in re.sub(r"#.*", "", text)
    assert set(re.findall(r"\btable (\S+ \S+)", re.sub(r"#.*", "", text))) == {"inet rampart_quarantine"}


def test_forwarding_has_no_exception() -> None:
    assert not any("accept" in rule for rule in chain(render(incident_keep_sessions=True), "forward"))


def test_the_controller_comes_in_by_ssh_alone_and_whatever_conntrack_says() -> None:
    assert tcp(chain(render(), "input")) == [
        f'ip saddr {{ {CONTROLLER} }} tcp dport {{ 22 }} counter accept comment "controller"',
        f'ip6 saddr {{ {CONTROLLER6} }} tcp dport {{ 22 }} counter accept comment "controller"',
    ]


def test_nothing_begins_on_the_host() -> None:
    rules = tcp(chain(render(incident_keep_sessions=True), "output"))
    assert rules
    for rule in rules:
        assert "tcp sport { 22 }" in rule
        assert "tcp flags & (syn | ack) != syn" in rule or "ct state established ct direction reply" in rule


def test_sessions_of_others_are_kept_only_if_they_are_open_and_wanted() -> None:
    kept = chain(render(incident_keep_sessions=True), "input")
    assert 'tcp dport { 22 } ct state established ct direction original counter accept comment "sessions' in str(kept)
    assert "ct state" not in re.sub(r"#.*", "", render())


@pytest.mark.parametrize(
    ("peers", "absent"), [([CONTROLLER], "ip6 saddr { 2"), ([CONTROLLER6], "ip saddr"), ([], "22")]
)
def test_a_family_without_a_peer_has_no_rule(peers: list[str], absent: str) -> None:
    assert absent not in "\n".join(tcp(chain(render(incident_quarantine_peers=peers), "input")))


@pytest.mark.parametrize("hook", ["input", "output"])
def test_addresses_live_on(hook: str) -> None:
    rules = chain(render(), hook)
    discovery = next(rule for rule in rules if "nd-neighbor-solicit" in rule)
    assert discovery.endswith("ip6 hoplimit 255 accept")  # nobody behind a router sends these
    assert any("udp sport" in rule and "67" in rule and "68" in rule for rule in rules)
    assert any("546" in rule and "547" in rule for rule in rules)


def test_the_same_peers_in_another_order_are_the_same_quarantine() -> None:
    assert render() == render(incident_quarantine_peers=[CONTROLLER6, CONTROLLER, CONTROLLER6])


def test_the_unit_opens_nothing_when_it_stops() -> None:
    unit = (ROLE / "templates/rampart-quarantine.service.j2").read_text(encoding="utf-8")
    assert not re.search(r"^ExecStop", unit, re.MULTILINE)
    assert re.search(r"^PartOf=nftables.service$", unit, re.MULTILINE)
    assert re.search(r"^Before=network-pre.target", unit, re.MULTILINE)


def test_the_way_back_knows_a_quarantine_that_was_there_before() -> None:
    script = (ROLE / "templates/rollback.sh.j2").read_text(encoding="utf-8")
    assert script.index("_incident_ruleset") < script.index("_incident_previous") < script.index("delete table")


def order(name: str) -> list[str]:
    """Return the names of a file's tasks, those in blocks too."""

    def names(tasks: list[dict[str, Any]]) -> list[str]:
        found = []
        for task in tasks:
            found.append(task["name"])
            for part in ("block", "rescue", "always"):
                found += names(task.get(part, []))
        return found

    return names(yaml.safe_load((ROLE / "tasks" / name).read_text(encoding="utf-8")))


def test_the_timer_is_armed_before_the_quarantine_and_disarmed_after_a_new_connection() -> None:
    steps = order("apply.yml")
    wanted = [
        "Arm the way back",
        "Load the quarantine",
        "Leave the present connection",
        "Come back through a new connection",
        "Make the quarantine permanent",
        "Disarm the way back",
    ]
    assert [step for step in steps if step in wanted] == wanted


def test_a_release_is_written_down_before_the_host_is_opened_and_asks_everything_before() -> None:
    steps = order("release.yml")
    wanted = [
        "Refuse to release on an own authority",
        "Refuse to release without a cause",
        "Refuse to release what is not as it should be",
        "Record that it goes back",
        "Open the host",
        "Close the record",
    ]
    assert [step for step in steps if step in wanted] == wanted


def test_evidence_is_taken_between_pause_and_stop() -> None:
    steps = order("isolate.yml")
    wanted = ["Quarantine", "Pause", "Preserve", "Stop"]
    assert [step for step in steps if step in wanted] == wanted
