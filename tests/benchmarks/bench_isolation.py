# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I4: how long the isolation facts take on a busy host, and how much memory.

Around three containers like ours run so many processes, forty of them in network namespaces of their own with a
listener each. A look is everything that ollama_isolation_facts does; median and worst of the runs within one process,
and its peak resident memory, the interpreter included. The peer is what a polling script would ask for, each time anew:
`docker inspect` of the three, and `ss` for listeners and connections, in the host's namespace alone.
Ends with 1 when a median reaches 1 s. Needs root, and a Docker Engine in whose namespaces we are (DOCKER_HOST, or the
laboratory's); without one it is measured with the engine down.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HOME = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HOME / "plugins"))

from module_utils.engine import Engine, EngineError  # noqa: E402 - found only by the path above

LIMIT_SECONDS = 1.0
ROLES = ("relay", "ollama", "gateway")
# argv: the socket, the containers as JSON, runs, the plugins' directory. Prints each run's seconds and the peak in MiB.
MEASURE = """
import json, sys, time
sys.path.insert(0, sys.argv[4])
from module_utils.engine import Engine
from module_utils.isolation import Expectation
from module_utils.isolation_survey import Wishes, survey
spent, seen = [], set()
for _run in range(int(sys.argv[3])):
    began = time.perf_counter()
    expected = Expectation(containers=json.loads(sys.argv[2]), docker_socket=sys.argv[1])
    found = survey(expected, Engine(sys.argv[1], 10.0), Wishes(firewall=True, egress=EGRESS))
    spent.append(time.perf_counter() - began)
    seen.add(sum(item["status"] == "passed" for item in found["checks"]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([spent, int(peak.split()[1]) / 1024, sorted(seen)]))
"""
# A neighbour of ours: in a namespace of its own, listening.
LISTEN = "import socket, time; s = socket.socket(); s.bind(('0.0.0.0', 8080)); s.listen(); time.sleep(3600)"
NAMESPACES = 40


def engine_socket() -> str:
    """Return the engine's socket: said by the environment, else the laboratory's."""
    named = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
    return named or str(HOME / ".lab" / "docker.sock")


@contextlib.contextmanager
def containers(path: str) -> Iterator[dict[str, str]]:
    """Run three containers as the mutations' baseline describes them; yields {role: name}, none without an engine."""
    engine = Engine(path)
    names = {role: "rampart-bench-isolation-{0}".format(role) for role in ROLES}
    table = yaml.safe_load((HOME / "tests/mutations/mutations.yml").read_text(encoding="utf-8"))["baseline"]
    try:
        engine.ping()
        image = next(item["Id"] for item in engine.images() if "debian:13-slim" in (item.get("RepoTags") or []))
    except (EngineError, StopIteration) as error:
        print("without containers: {0}".format(error or "no image debian:13-slim"))
        yield dict.fromkeys(ROLES, "none")
        return
    try:
        for role in ROLES:
            engine.remove_container(names[role])
            config = copy.deepcopy(table["common"])
            config.update({"Image": image, "User": table[role]["User"], "Labels": {"rampart.bench": "1"}})
            if role == "ollama":
                config["HostConfig"]["NetworkMode"] = "container:" + names["relay"]
            # The filter is passed on as the roles do; what stands in it does not matter here.
            config["HostConfig"]["SecurityOpt"] = ["no-new-privileges:true"]
            engine.create_container(names[role], config)
            engine.start_container(names[role])
        yield names
    finally:
        for name in names.values():
            engine.remove_container(name)


@contextlib.contextmanager
def crowd(count: int) -> Iterator[None]:
    """Run so many processes, NAMESPACES of them in network namespaces of their own with a listener."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            if number < NAMESPACES:
                command = ["unshare", "--net", sys.executable, "-S", "-c", LISTEN]
            else:
                command = ["sleep", "3600"]
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        time.sleep(2)
        yield
    finally:
        for process in started:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGKILL)
        for process in started:
            process.wait()


def measured(path: str, names: dict[str, str], runs: int, egress: bool) -> tuple[list[float], float, list[int]]:
    """Return (seconds of each run, peak MiB, how many checks passed) of our look."""
    code = MEASURE.replace("EGRESS", str(egress))
    command = [sys.executable, "-B", "-c", code, path, json.dumps(names), str(runs), str(HOME / "plugins")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent, peak, seen = json.loads(output)
    return spent, peak, seen


def peer(path: str, names: dict[str, str], runs: int) -> list[float]:
    """Return the seconds of each run of what a polling script asks."""
    environment = {**os.environ, "DOCKER_HOST": "unix://" + path}
    commands = [["docker", "inspect", *names.values()], ["ss", "-Htanp"], ["ss", "-Hltnp"]]
    spent = []
    for _run in range(runs):
        began = time.perf_counter()
        for command in commands:
            subprocess.run(command, capture_output=True, env=environment, check=False)
        spent.append(time.perf_counter() - began)
    return spent


def main() -> int:
    """Measure and print; end with 1 when a median reaches the limit."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="runs of which median and worst are taken")
    parser.add_argument("--processes", type=int, nargs="*", default=[500, 2000], help="how many processes are around")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root: the kernel shows other users' processes to root alone")
        return 1
    path = engine_socket()
    failed = False
    line = "{0:<38}{1:>12}{2:>12}{3:>12}{4:>10}"
    print(line.format("{0} runs".format(asked.runs), "median ms", "worst ms", "peak MiB", "passed"))

    def show(what: str, spent: list[float], peak: Any, seen: Any) -> float:
        middle: float = statistics.median(spent)
        print(line.format(what, *("{0:.0f}".format(value * 1000) for value in (middle, max(spent))), peak, seen))
        return middle

    with containers(path) as names:
        for count in asked.processes:
            with crowd(count):
                for egress in (False, True):
                    spent, peak, seen = measured(path, names, asked.runs, egress)
                    what = "{0} processes{1}".format(count, ", with egress" if egress else "")
                    middle = show(what, spent, "{0:.1f}".format(peak), "/".join(map(str, seen)))
                    failed = failed or middle >= LIMIT_SECONDS
                show("{0} processes, docker and ss".format(count), peer(path, names, asked.runs), "-", "-")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
