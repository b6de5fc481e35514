# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows I1, I2: what serves has no interface but the loopback and no rights, as the kernel reports it."""

from __future__ import annotations

import json

import pytest

OWNER = {"rampart-relay": 10005, "rampart-ollama": 10001, "rampart-gateway": 10002}


@pytest.mark.row("I2")
def test_no_interface_but_the_loopback(container):
    assert container.interfaces() == {"lo"}


@pytest.mark.row("I2")
def test_no_route_leads_anywhere(container):
    assert container.proc("net/route").splitlines()[1:] == []
    ipv6 = [line.split() for line in container.proc("net/ipv6_route").splitlines()]
    assert {fields[-1] for fields in ipv6} <= {"lo"}


@pytest.mark.row("I2")
def test_server_shares_the_relays_namespace_and_nobody_elses(host):
    def namespace(name):
        pid = json.loads(host.check_output(f"docker inspect {name}"))[0]["State"]["Pid"]
        return host.check_output(f"readlink /proc/{pid}/ns/net")

    assert namespace("rampart-ollama") == namespace("rampart-relay")
    assert namespace("rampart-gateway") != namespace("rampart-relay")
    assert host.check_output("readlink /proc/1/ns/net") not in {
        namespace("rampart-ollama"),
        namespace("rampart-gateway"),
    }


@pytest.mark.row("I1")
def test_runs_as_its_own_account_without_rights(container):
    status = container.status()
    assert set(status["Uid"].split()) == {str(OWNER[container.name])}
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.row("I1")
def test_root_and_temporary_file_systems(container):
    assert "ro" in container.mount_options("/")
    assert {"noexec", "nosuid", "nodev"} <= container.mount_options("/tmp")


@pytest.mark.row("I1")
def test_models_are_mounted_read_only(server):
    assert "ro" in server.mount_options("/models")


@pytest.mark.row("I1")
def test_no_docker_socket_inside(container):
    assert "docker.sock" not in container.proc("mountinfo")


@pytest.mark.row("I1")
def test_limits_are_set(host, container):
    settings = json.loads(host.check_output(f"docker inspect {container.name}"))[0]["HostConfig"]
    assert settings["Memory"] > 0
    assert settings["PidsLimit"] and settings["PidsLimit"] > 0
    assert settings["NanoCpus"] > 0
    assert not settings["Privileged"]
    assert settings["PortBindings"] in (None, {})


@pytest.mark.row("I2")
def test_fetcher_and_proxy_are_gone_when_nothing_is_fetched(host):
    names = host.check_output("docker ps --all --format '{{.Names}}'").split()
    assert "rampart-ollama" in names
    assert not {"rampart-fetcher", "rampart-egress", "rampart-egress-relay"} & set(names)
    members = host.check_output("docker network inspect rampart-egress --format '{{json .Containers}}'")
    assert json.loads(members) == {}


@pytest.mark.row("I2")
def test_only_the_gateways_group_reaches_the_servers_socket(host):
    directory = host.file("/run/rampart/ollama")
    assert (directory.uid, directory.gid, directory.mode) == (10005, 10002, 0o2750)
    socket = host.file("/run/rampart/ollama/ollama.sock")
    assert socket.is_socket
    assert (socket.gid, socket.mode) == (10002, 0o660)
    # Neither the edge's account nor a stranger may even see the socket.
    for uid in (10006, 10001, 65534):
        assert host.run(f"setpriv --reuid={uid} --regid={uid} --clear-groups stat {socket.path}").rc != 0
    assert host.run(f"setpriv --reuid=10002 --regid=10002 --clear-groups stat {socket.path}").rc == 0


@pytest.mark.row("W2")
def test_nobody_listens_for_ollama_or_docker_on_the_host(host):
    listeners = host.check_output("ss --no-header --listening --numeric --tcp --udp --all")
    ports = {
        line.split()[4].rsplit(":", 1)[1]
        for line in listeners.splitlines()
        if line.split()[1] in ("LISTEN", "UNCONN")
    }
    assert "22" in ports
    assert not {"11434", "2375", "2376", "3128"} & ports
