# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows W2, W4, W8: firewall, updates and Docker Engine of the host, and what they must not have touched."""

from __future__ import annotations

import json

import pytest


@pytest.mark.row("W2")
@pytest.mark.parametrize("chain", ["input", "forward"])
def test_firewall_denies_by_default(host, chain):
    ruleset = json.loads(host.check_output("nft --json list table inet rampart"))["nftables"]
    chains = {item["chain"]["name"]: item["chain"] for item in ruleset if "chain" in item}
    assert chains[chain]["hook"] == chain
    assert chains[chain]["policy"] == "drop"


@pytest.mark.row("W2")
def test_firewall_leaves_dockers_tables_alone(host):
    assert "DOCKER" in host.check_output("iptables-save --table filter || nft list ruleset")


@pytest.mark.row("W2")
def test_firewall_comes_back_at_boot(host):
    enabled = host.check_output("systemctl list-unit-files --state=enabled --no-legend").split()
    assert any(unit.startswith("rampart") and "firewall" in unit for unit in enabled)


@pytest.mark.row("W4")
def test_security_updates_are_taken_and_nothing_else(host):
    settings = host.check_output(
        "apt-config dump Unattended-Upgrade::Origins-Pattern Unattended-Upgrade::Allowed-Origins"
    )
    origins = [line for line in settings.splitlines() if line.split()[-1] != '"";']
    assert origins
    assert all("security" in line.lower() for line in origins)
    assert host.check_output("apt-config shell ON APT::Periodic::Unattended-Upgrade").strip() != "ON='0'"
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.service(timer).is_enabled
        assert host.service(timer).is_running


@pytest.mark.row("W8")
def test_docker_was_configured_and_listens_on_its_socket_only(host):
    configuration = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert configuration["no-new-privileges"] is True
    assert configuration["live-restore"] is True
    assert configuration["icc"] is False
    assert "max-size" in configuration["log-opts"]
    assert not any(address.startswith("tcp") for address in configuration.get("hosts", []))
    running = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert running["LiveRestoreEnabled"] is True
    assert host.group("docker").members == []


@pytest.mark.row("C10")
def test_configuration_files_of_packages_are_as_they_were(host):
    """What a role does not own is unchanged: our files lie beside the packages', never on top of them."""
    packages = "nftables unattended-upgrades docker.io nginx-common openssh-server"
    assert host.run(f"dpkg-query --show {packages}").rc == 0
    changed = [
        line.split()[-1]
        for line in host.run(f"dpkg --verify {packages}").stdout.splitlines()
        if " c " in line
    ]
    assert changed == []


@pytest.mark.row("C1-C5")
@pytest.mark.parametrize("phase", range(1, 6))
def test_phase_left_its_marker(host, phase):
    marker = host.file(f"/var/lib/rampart/phases/phase{phase}.json")
    assert (marker.user, marker.group, marker.mode) == ("root", "root", 0o644)
    content = json.loads(marker.content_string)
    assert content["phase"] == phase
    assert content["verdict"] != "failed"


def test_no_unit_has_failed(host):
    assert (
        host.check_output(
            "systemctl list-units --state=failed --no-legend --plain --all 'rampart*' 'docker*' 'nginx*'"
        )
        == ""
    )
