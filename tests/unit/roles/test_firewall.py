# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I2: the rules of the egress proxy's bridge as rendered; tests/mutations/test_firewall.py sends packets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from firewall_rules import chain, render

pytestmark = pytest.mark.row("I2")


def test_the_bridge_leads_to_tls_and_dns_alone() -> None:
    rules = chain(render(), "from_egress")
    accepted = [rule for rule in rules if " accept" in rule]
    assert [rule.split(" counter")[0] for rule in accepted] == [
        "tcp dport 443",
        "meta l4proto { tcp, udp } th dport 53",
    ]
    assert rules[-1] == "jump egress_refused"
    # To another container before anything is accepted, by whatever port.
    assert rules[:3] == [f'oifname "{name}" jump egress_refused' for name in ("docker0", "br-*", "br-rampart-eg")]


def test_named_resolvers_are_the_only_ones_of_their_family_and_of_the_other() -> None:
    rules = chain(render(firewall_egress_resolvers=["192.0.2.1", "2001:db8::1"]), "from_egress")
    assert [rule.split(" meta")[0] for rule in rules if "dport 53" in rule] == [
        "ip daddr { 192.0.2.1 }",
        "ip6 daddr { 2001:db8::1 }",
    ]
    assert not any("ip6" in rule for rule in chain(render(firewall_egress_resolvers=["192.0.2.1"]), "from_egress"))


def test_the_bridges_own_rule_comes_before_the_one_of_all_bridges() -> None:
    for name, own in (("forward", "from_egress"), ("input", "egress_refused")):
        rules = chain(render(), name)
        assert rules.index(f'iifname "br-rampart-eg" jump {own}') < next(
            number for number, rule in enumerate(rules) if rule.startswith('iifname "br-*"')
        )


def test_uploads_are_bounded_before_established_connections_are_let_through() -> None:
    rules = chain(render(), "forward")
    assert rules.index('iifname "br-rampart-eg" jump egress_upload') < next(
        number for number, rule in enumerate(rules) if "established : accept" in rule
    )


@pytest.mark.parametrize("kind", ["input", "forward", "egress"])
def test_what_is_refused_is_told_at_a_bounded_rate_and_dropped_beyond_it(kind: str) -> None:
    told, dropped = chain(render(), f"{kind}_refused")
    assert told.startswith("limit rate 10/second ")
    assert f'log prefix "rampart-{kind}-refused: " group 5' in told
    assert "drop" not in told
    assert dropped.startswith("counter drop")
