# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a breach lives, and what the watch costs while nothing happens, beside the guide's script every 5 seconds.

- 50 breaches of all kinds but one (tests/watch/planted.py), in turn: seconds until containment, median and worst
- the sensor idle for 60 s: share of one core, resident memory at its peak; how many programs others started meanwhile
- the guide's check_isolation.sh, run every 5 s for 60 s: share of one core; it stops a service of systemd's and sees
  neither a network that was added nor a capability that is in effect, so that there is no time to containment to show

Needs root and the laboratory's engine (tests/lab/lab.py up). About four minutes with the defaults.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / ".collections"), str(ROOT / "tests" / "watch")]

from planted import KINDS, Caught, Rig  # noqa: E402 - found by the line above

# The guide's script as it stands, without its messages; what it would stop is named in a way that nothing here is.
GUIDE = r"""
if netstat -an 2>/dev/null | grep 11434 | grep -v "127.0.0.1"; then :; fi
if ps aux | grep ollama | grep "^root"; then :; fi
find "$1" -type f -perm /go+w -ls
docker inspect "$2" | grep -A 10 "CapAdd"
"""


def cpu_seconds(pid: int) -> float:
    """Processor time a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """Resident memory at its peak."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1000


def forks() -> int:
    """Processes started on the machine since boot."""
    return int(Path("/proc/stat").read_text().split("processes ")[1].split()[0])


def idle(rig: Rig, seconds: float) -> None:
    """Measure the sensor while nothing happens to its containers."""
    pid = rig.processes["sensor"].pid
    time.sleep(3)
    before, begun, started = cpu_seconds(pid), time.monotonic(), forks()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    share = (cpu_seconds(pid) - before) / elapsed
    others = (forks() - started) / elapsed
    print(f"idle for {elapsed:.0f} s: {100 * share:.2f} % of a core (< 1), peak {peak_megabytes(pid):.1f} MB (< 40)")
    print(f"  (others started {others:.0f} processes a second on this machine meanwhile)")


def guide(rig: Rig, seconds: float) -> None:
    """Run the guide's script every 5 s and add up what its processes use."""
    environment = {**os.environ, "DOCKER_HOST": f"unix://{rig.engine.socket_path}"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        next_run = time.monotonic() + 5
        command = ["bash", "-c", GUIDE, "check", str(rig.directory / "store"), rig.names["ollama"]]
        subprocess.run(command, env=environment, capture_output=True, check=False)
        time.sleep(max(0.0, next_run - time.monotonic()))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    share = 100 * used / (time.monotonic() - begun)
    left_out = "" if shutil.which("netstat") else ", without netstat, which is not installed here"
    print(f"the guide's script every 5 s: {share:.2f} % of a core (without dockerd's part{left_out}); up to 5 s late")


def breaches(rig: Rig, count: int) -> list[Caught]:
    """Plant breaches in turn and wait for each to end."""
    kinds = [kind for kind in KINDS if kind != "host-pid"]
    caught = []
    for number in range(count):
        try:
            caught.append(rig.catch(rig.plant(kinds[number % len(kinds)])))
        finally:
            rig.tidy()
    return caught


def show(caught: list[Caught]) -> bool:
    """Print the table; whether every breach ended within a second."""
    for kind in dict.fromkeys(item.kind for item in caught):
        times = [item.seconds for item in caught if item.kind == kind and item.seconds is not None]
        missed = sum(item.kind == kind and item.seconds is None for item in caught)
        figures = f"median {statistics.median(times):.2f} s, worst {max(times):.2f} s" if times else "never contained"
        print(f"  {kind:20} {len(times) + missed:2} planted, {missed} missed, {figures}")
    times = [item.seconds for item in caught if item.seconds is not None]
    if times:
        middle, worst = statistics.median(times), max(times)
        print(f"{len(times)} of {len(caught)} contained: median {middle:.2f} s, worst {worst:.2f} s")
    return len(times) == len(caught) and max(times, default=9.0) < 1.0


def main() -> int:
    """Return 0 when it could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--breaches", type=int, default=50)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("left out: it takes root to see what the watch sees")
        return 0
    # Containers of the laboratory look like breaches from outside and are not what is measured here.
    names = ["d12", "d13", "neighbour", "internet"]
    quiet = {"ISO-LISTENER": "log", "ISO-NATIVE-OLLAMA": "log"}
    with contextlib.ExitStack() as stack:
        try:
            rig = stack.enter_context(Rig(policy=quiet, allowed_containers=names))
        except RuntimeError as error:
            print(f"left out: {error}")
            return 0
        idle(rig, options.idle)
        guide(rig, options.idle)
    with Rig(allowed_containers=names) as rig:
        print(f"{options.breaches} breaches of {len(KINDS) - 1} kinds, load {os.getloadavg()[0]:.1f}:")
        within = show(breaches(rig, options.breaches))
        print(f"figure to reach, each within 1 s: {'reached' if within else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
