# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor's verbs `network` and `container`: what the engine is told to contain, and all that is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import watch_host
from watch_host import EGRESS, IMAGES, NET, OLLAMA, OTHER, RELAY, MemoryEngine, bind, container

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_engine import EngineActs
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_plan import ActError, RefusedError

pytestmark = pytest.mark.row("I5")
FINDING = Finding("ISO-INTERFACE", Severity.CRITICAL, "rampart-ollama", "interfaces: lo, eth0", "Disconnect it.")


def acts(directory: Path, engine: MemoryEngine, *findings: Finding) -> EngineActs:
    return EngineActs(watch_host.config(directory), engine, lambda: list(findings), ProcFS())  # type: ignore[arg-type]


def networked(identity: str, name: str, network: str, **more: Any) -> dict[str, Any]:
    made = container(identity, name, **more)
    made["NetworkSettings"]["Networks"] = {network: {"NetworkID": NET, "IPAddress": "172.18.0.2"}}
    return made


# --- network ----------------------------------------------------------------------------------------------
def test_i5_a_guarded_container_is_taken_out_of_a_network(tmp_path: Path) -> None:
    engine = MemoryEngine(networked(RELAY, "rampart-relay", "bridge"))
    plan = acts(tmp_path, engine).network({"container": RELAY, "network": NET})
    assert engine.acts == []
    assert plan.act() == ["disconnected rampart-relay from network bridge"]
    assert engine.acts == [("disconnect", NET, RELAY)]
    assert plan.before["container"]["networks"]["bridge"]["NetworkID"] == NET


def test_i5_one_of_our_images_under_another_name_is_taken_out_too(tmp_path: Path) -> None:
    engine = MemoryEngine(networked(OTHER, "renamed", "bridge", image=IMAGES["ollama"]))
    assert acts(tmp_path, engine).network({"container": OTHER, "network": NET}).act()


@pytest.mark.parametrize(
    ("made", "network", "reason"),
    [
        (networked(OTHER, "database", "bridge"), NET, "no guarded container"),
        (networked(EGRESS, "rampart-egress", "rampart-egress"), NET, "may be in network"),
        (networked(RELAY, "rampart-relay", "host"), NET, "has to be stopped"),
        (networked(RELAY, "rampart-relay", "none"), NET, "leads nowhere"),
        (networked(RELAY, "rampart-relay", "bridge"), "f" * 64, "not in that network"),
    ],
)
def test_i5_a_network_that_is_allowed_or_somebody_elses_stays(
    tmp_path: Path, made: dict[str, Any], network: str, reason: str
) -> None:
    engine = MemoryEngine(made)
    with pytest.raises(RefusedError, match=reason):
        acts(tmp_path, engine).network({"container": made["Id"], "network": network})
    assert engine.acts == []


def test_i5_a_network_that_stays_is_a_failure(tmp_path: Path) -> None:
    engine = MemoryEngine(networked(RELAY, "rampart-relay", "bridge"))
    engine.stubborn = True
    with pytest.raises(ActError, match="still"):
        acts(tmp_path, engine).network({"container": RELAY, "network": NET}).act()


# --- container --------------------------------------------------------------------------------------------
VIOLATING = {
    "privileged": container(OTHER, "x", Privileged=True),
    "host network": container(OTHER, "x", NetworkMode="host"),
    "host pid": container(OTHER, "x", PidMode="host"),
    "host ipc": container(OTHER, "x", IpcMode="host"),
    "host uts": container(OTHER, "x", UTSMode="host"),
    "namespace by id": container(OTHER, "x", NetworkMode="container:" + RELAY),
    "namespace by name": container(OTHER, "x", NetworkMode="container:rampart-ollama"),
    "pid namespace": container(OTHER, "x", PidMode="container:" + OLLAMA),
    "root of the host": {**container(OTHER, "x"), "Mounts": [bind("/")]},
    "parent of the store": {**container(OTHER, "x"), "Mounts": [bind("/srv/rampart")]},
    "part of the store": {**container(OTHER, "x"), "Mounts": [bind("/srv/rampart/store/blobs")]},
    "engine's socket": {**container(OTHER, "x"), "Mounts": [bind("/somewhere/docker.sock")]},
    "engine's directory": {**container(OTHER, "x"), "Mounts": [bind("/run")]},
    "second server": networked(OTHER, "x", "bridge", image=IMAGES["ollama"]),
    "guarded with a network": networked(RELAY, "rampart-relay", "bridge"),
    "egress elsewhere": networked(EGRESS, "rampart-egress", "bridge"),
    "guarded, privileged": container(OLLAMA, "rampart-ollama", image=IMAGES["ollama"], Privileged=True),
    "guarded joins another": container(EGRESS, "rampart-egress", NetworkMode="container:rampart-ollama"),
}


@pytest.mark.parametrize("name", sorted(VIOLATING))
def test_i5_a_container_that_violates_is_stopped_for_good(tmp_path: Path, name: str) -> None:
    made = VIOLATING[name]
    engine = MemoryEngine(container(RELAY, "rampart-relay"), container(OLLAMA, "rampart-ollama"), made)
    plan = acts(tmp_path, engine).container({"container": made["Id"]})
    assert engine.acts == []
    done = plan.act()
    assert engine.acts == [("stop", made["Id"], "0"), ("update", made["Id"], "no")]
    assert done[-1] == "set its restart policy from always to no"
    assert plan.release["restart_policy"]["Name"] == "always"
    # What a record keeps of a container holds no value of its environment and no argument.
    assert "hunter" not in json.dumps([plan.checked, plan.before, plan.release])
    assert "SECRET_TOKEN" in json.dumps(plan.before)


VOLUME = "/var/lib/docker/volumes/v/_data"
HOST_MOUNTS = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 8:2 / /srv rw - ext4 /dev/sdb1 rw"]


def with_mount(
    tmp_path: Path, mount: dict[str, str], host: list[str], *inside: str
) -> tuple[EngineActs, dict[str, Any]]:
    """A container with one mount at /h, as the engine and the kernel tell of it."""
    made = {**container(OTHER, "x"), "Mounts": [{**mount, "Destination": "/h"}]}
    made["State"] = {**made["State"], "Pid": 77}
    for pid, lines in ((1, host), (77, ["1 0 0:50 / / rw - overlay overlay rw", *inside])):
        (tmp_path / "proc" / str(pid)).mkdir(parents=True)
        (tmp_path / "proc" / str(pid) / "mountinfo").write_text("\n".join(lines) + "\n")
    (tmp_path / "proc" / "77" / "cgroup").write_text(f"0::/system.slice/docker-{OTHER}.scope\n")
    engine = MemoryEngine(container(RELAY, "rampart-relay"), made)
    config = watch_host.config(tmp_path)
    return EngineActs(config, engine, list, ProcFS(str(tmp_path / "proc"))), made  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behind", "inside", "seen"),
    [
        ("3 1 8:1 / {0} rw - ext4 /dev/sda1 rw", "2 1 8:1 / /h rw - ext4 /dev/sda1 rw", "it has / of the host"),
        ("3 1 8:1 /etc {0} rw - ext4 /dev/sda1 rw", "2 1 8:1 /etc /h rw - ext4 /dev/sda1 rw", "/etc of the host"),
        ("3 1 8:2 /rampart {0} rw - ext4 /dev/sdb1 rw", "2 1 8:2 /rampart /h rw - ext4 /dev/sdb1 rw", "/srv/rampart"),
        # The engine has a mount namespace of its own: the host does not see what lies behind the volume.
        ("", "2 1 8:1 / /h rw - ext4 /dev/sda1 rw", "it has / of the host"),
    ],
)
def test_i5_a_volume_that_hides_a_directory_of_the_host_is_stopped(
    tmp_path: Path, behind: str, inside: str, seen: str
) -> None:
    host = [*HOST_MOUNTS, *([behind.format(VOLUME)] if behind else [])]
    look, made = with_mount(tmp_path, {"Type": "volume", "Source": VOLUME}, host, inside)
    assert any(seen in reason for reason in look.violations(made)), look.violations(made)


@pytest.mark.parametrize(
    ("behind", "inside"),
    [
        ([], "2 1 8:1 {0} /h rw - ext4 /dev/sda1 rw"),
        # The engine's data lies on a volume of its own, which is mounted a second time as a whole.
        (["3 1 8:2 /docker /var/lib/docker rw - ext4 /dev/sdb1 rw"], "2 1 8:2 /docker/volumes/v/_data /h rw - x x rw"),
        (["3 1 8:9 / {0} rw - nfs server:/x rw"], "2 1 8:9 / /h rw - nfs server:/x rw"),
    ],
)
def test_i5_a_volume_that_is_one_is_left_alone(tmp_path: Path, behind: list[str], inside: str) -> None:
    host = HOST_MOUNTS + [line.format(VOLUME) for line in behind]
    look, made = with_mount(tmp_path, {"Type": "volume", "Source": VOLUME}, host, inside.format(VOLUME))
    assert look.violations(made) == []


ROOT_INSIDE, OVER_IT = "2 1 8:1 / /h rw - ext4 /dev/sda1 rw", "3 2 8:2 /rampart/store /h ro - ext4 /dev/sdb1 rw"


@pytest.mark.parametrize("inside", [[ROOT_INSIDE], [ROOT_INSIDE, OVER_IT]])
@pytest.mark.parametrize("source", ["/srv/harmless", "/srv/rampart/store"])
@pytest.mark.parametrize("name", ["x", "rampart-ollama"])
def test_i5_a_link_that_leads_elsewhere_since_is_seen_through(
    tmp_path: Path, inside: list[str], source: str, name: str
) -> None:
    """The engine names the path it was given, which may be a link that was turned to what is allowed; what was mounted
    is what the kernel says, also below another mount.
    """
    look, made = with_mount(tmp_path, {"Type": "bind", "Source": source}, HOST_MOUNTS, *inside)
    assert "it has / of the host" in look.violations({**made, "Name": "/" + name})


def test_i5_what_is_allowed_stays_so_under_its_other_name(tmp_path: Path) -> None:
    """The store's file system is mounted twice, and its other name lies in a protected directory."""
    (allowed,) = watch_host.config(tmp_path).guarded["rampart-ollama"].mounts
    host = [HOST_MOUNTS[0], f"2 1 8:2 / {allowed} rw - ext4 y rw", "3 1 8:2 / /var/lib/docker/x rw - ext4 y rw"]
    inside = "2 1 8:2 / /h ro - ext4 y rw"
    look, made = with_mount(tmp_path, {"Type": "bind", "Source": allowed}, host, inside)
    assert look.violations(made) != []
    assert look.violations({**made, "Name": "/rampart-ollama"}) == []


SOUND = {
    "somebody's": networked(OTHER, "database", "bridge"),
    "somebody's, with data": {**container(OTHER, "database"), "Mounts": [bind("/srv/data"), bind("/etc/localtime")]},
    "a volume": {**container(OTHER, "database"), "Mounts": [{"Type": "volume", "Source": "/var/lib/docker/volumes/a"}]},
    "joins a stranger": container(OTHER, "x", NetworkMode="container:" + "f" * 64),
    "the egress proxy": {
        **networked(EGRESS, "rampart-egress", "rampart-egress"),
        "Mounts": [bind("/etc/rampart/egress")],
    },
    "the server": {
        **container(OLLAMA, "rampart-ollama", image=IMAGES["ollama"], NetworkMode="container:" + RELAY),
        "Mounts": [bind("/srv/rampart/store")],
    },
}


@pytest.mark.parametrize("name", sorted(SOUND))
def test_i5_a_container_that_violates_nothing_runs_on(tmp_path: Path, name: str) -> None:
    made = SOUND[name]
    engine = MemoryEngine(container(RELAY, "rampart-relay"), made)
    # The sensor's word alone stops nothing, and what is wrong with another container does not either.
    stranger = Finding("ISO-INTERFACE", Severity.CRITICAL, "rampart-gateway", "interfaces: eth0", "Disconnect it.")
    with pytest.raises(RefusedError, match="violates nothing"):
        acts(tmp_path, engine, stranger).container({"container": made["Id"]})
    assert engine.acts == []


def test_i5_a_guarded_container_is_stopped_for_what_the_actor_sees_itself(tmp_path: Path) -> None:
    engine = MemoryEngine(container(OLLAMA, "rampart-ollama", image=IMAGES["ollama"]))
    low = Finding("ISO-UNPINNED-IMAGE", Severity.MEDIUM, "rampart-ollama", "a tag", "Pin it.")
    with pytest.raises(RefusedError):
        acts(tmp_path, engine, low).container({"container": OLLAMA})
    assert acts(tmp_path, engine, FINDING).container({"container": OLLAMA}).act()


def test_i5_what_does_not_run_or_is_not_there_is_left_alone(tmp_path: Path) -> None:
    made = container(OTHER, "x", Privileged=True)
    made["State"]["Running"] = False
    engine = MemoryEngine(made)
    for identity, reason in ((OTHER, "does not run"), (EGRESS, "no such container")):
        with pytest.raises(RefusedError, match=reason):
            acts(tmp_path, engine).container({"container": identity})


def test_i5_an_engine_that_hangs_in_a_stop_is_gone_round_by_the_kernel(tmp_path: Path) -> None:
    victim = subprocess.Popen(["/bin/sleep", "60"])
    try:
        made = container(OTHER, "x", Privileged=True, RestartPolicy={"Name": "no"})
        made["State"]["Pid"] = victim.pid
        engine = MemoryEngine(made)
        engine.broken = {"stop"}
        # Its control group is not the container's: a number that the engine names is not enough to kill by.
        with pytest.raises(ActError):
            acts(tmp_path, engine).container({"container": OTHER}).act()
        with pytest.raises(subprocess.TimeoutExpired):
            victim.wait(0.5)

        class Grouped(ProcFS):
            def cgroups(self, pid: int) -> dict[str, str]:
                return {"": "/system.slice/docker-{0}.scope".format(OTHER)}

        planner = EngineActs(watch_host.config(tmp_path), engine, list, Grouped())  # type: ignore[arg-type]
        plan = planner.container({"container": OTHER})
        with pytest.raises(ActError, match="runs still"):
            plan.act()  # the engine in memory does not notice the death
        assert victim.wait(10) == -signal.SIGKILL
    finally:
        victim.kill()
        victim.wait()
