# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W2: the filter the firewall's guard asks."""

from __future__ import annotations

from ansible_collections.rampart.ollama.plugins.filter.admits_ssh import FilterModule


def test_the_filter_is_offered_and_answers() -> None:
    admits_ssh = FilterModule().filters()["admits_ssh"]
    rules = [{"name": "ssh", "sources": ["192.0.2.0/24"], "ports": [22], "protocol": "tcp", "interface": ""}]
    assert admits_ssh(rules, {"peer": "192.0.2.10", "server_port": 22}) is True
    assert admits_ssh(rules, {"peer": "198.51.100.1", "server_port": 22}) is False
    assert admits_ssh(rules, None) is False
