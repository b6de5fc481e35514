# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I1 on a kernel with AppArmor: runs in the virtual machine that run.py boots, and prints one line for each claim.

Programs are put under a profile as runc does it: the name is written to attr/exec, and the next program runs confined.
They run as root with every capability, so that what refuses them is the profile and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, "/")

from rampart_vm import fetch_container
from rampart_vm.fetch_container import FetcherSettings, security_options
from rampart_vm.findings import FindingError
from rampart_vm.isolation_container import Target, host_view
from rampart_vm.isolation_kernel import KernelProbes
from rampart_vm.isolation_report import Report
from rampart_vm.procfs import ProcFS

PROFILES = ("relay", "ollama", "gateway", "fetcher", "egress")
WRITES = {
    "relay": "/run/ollama",
    "ollama": "/home/ollama",
    "gateway": "/run/gateway",
    "fetcher": "/quarantine",
    "egress": "/run/squid",
}
# What is tried, as one line of Python each; it raises OSError where it is refused.
TRIED = {
    "writes where it may": "open('{0}/file', 'w').write('x')",
    "writes to /etc": "open('/etc/file', 'w').write('x')",
    "reads the image": "open('/etc/passwd').read()",
    "opens a TCP socket": "import socket; socket.socket(socket.AF_INET)",
    "opens a Unix socket": "import socket; socket.socket(socket.AF_UNIX).bind('{0}/socket')",
    "opens a packet socket": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "runs a file it wrote": "import shutil, subprocess; shutil.copy('/bin/true', '/tmp/p'); os.chmod('/tmp/p', 0o755);"
    " subprocess.run(['/tmp/p'], check=True)",
    "mounts": "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.mount(b'x', b'/mnt', b'tmpfs', 0, None) == 0"
    " or (_ for _ in ()).throw(OSError(ctypes.get_errno()))",
    "uses a capability": "os.chown('/tmp', 4711, 4711)",
    "reads the memory of the kernel": "open('/proc/kcore', 'rb').read(1)",
    "writes a sysctl": "open('/proc/sys/kernel/hostname', 'w').write('x')",
}
ALWAYS = {"writes where it may", "reads the image", "opens a Unix socket"}
NETWORK = {"relay", "ollama", "egress"}
CONFINED = """
import os, sys
open('/proc/self/attr/exec', 'w').write('exec rampart-' + sys.argv[1])
os.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])
"""


def claim(text: str, holds: bool, detail: object = "") -> None:
    """Print a claim and whether it was seen to hold; run.py counts them."""
    print(
        "CLAIM {0} {1}{2}".format("ok" if holds else "FAILED", text, " ({0})".format(detail) if detail else ""),
        flush=True,
    )


def confined(profile: str, code: str) -> subprocess.Popen[str]:
    """Start Python code under a profile."""
    command = [sys.executable, "-c", CONFINED, profile, code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def attempts(profile: str) -> None:
    """Claim what a profile lets through, and what not: one claim for both lists."""
    passed, errors = set(), {}
    for name, code in TRIED.items():
        child = confined(profile, "import os\n" + code.format(WRITES[profile]))
        said, _none = child.communicate(timeout=60)
        if child.returncode == 0:
            passed.add(name)
        errors[name] = said.strip().splitlines()[-1:] or [""]
    wanted = ALWAYS | ({"opens a TCP socket"} if profile in NETWORK else set())
    for name in sorted(set(TRIED) - {"reads the image"}):
        holds = (name in passed) == (name in wanted)
        if holds and name not in wanted:
            # Refused for lack of permission, not for another reason.
            holds = any(
                word in errors[name][0] for word in ("Permission", "not permitted", "OSError: 13", "OSError: 1")
            )
        if name in ("writes where it may", "runs a file it wrote", "opens a TCP socket", "mounts", "uses a capability",
                    "writes to /etc", "reads the memory of the kernel") or not holds:  # fmt: skip
            claim(
                "{0} {1}: {2}".format(profile, name, "allowed" if name in wanted else "refused"),
                holds,
                "" if holds else errors[name],
            )


def facts(profile: str) -> None:
    """Claim that the probes of ollama_isolation_facts tell a confined process from one that is not."""
    host = host_view(ProcFS(), "/nothing")
    child = confined(profile, "print('up', flush=True); input()")
    child.stdout.readline()
    codes = {}
    for name, pid in (("confined", child.pid), ("unconfined", os.getpid())):
        report = Report()
        KernelProbes(ProcFS(), host, Target(profile, profile, 0, pid, {}), report).apparmor()
        codes[name] = (report.checks[profile + "-apparmor"].status, [finding.code for finding in report.findings])
    child.communicate("\n", timeout=60)
    holds = codes == {"confined": ("passed", []), "unconfined": ("failed", ["ISO-APPARMOR"])}
    claim("the facts tell {0} under its profile from one without".format(profile), holds, "" if holds else codes)


def fetcher() -> None:
    """Claim that the fetcher's container gets the profile that is loaded."""
    path = Path("/tmp/profile.json")
    path.write_text("{}")
    fetch_container.named = lambda _text: "rampart"
    settings = FetcherSettings("x", 10003, Path("/x"), None, 1, seccomp=path)
    claim("the fetcher is started under its profile", "apparmor=rampart-fetcher" in security_options(settings))
    subprocess.run(["/sbin/apparmor_parser", "--remove", "/profiles/rampart-fetcher"], check=True)
    try:
        security_options(settings)
        claim("the fetcher is refused where its profile is not loaded", False)
    except FindingError as error:
        claim("the fetcher is refused where its profile is not loaded", error.finding.code == "FETCH-CONFINEMENT")


def main() -> None:
    print("KERNEL " + os.uname().release, flush=True)
    for directory in [*WRITES.values(), "/mnt", "/etc"]:
        Path(directory).mkdir(parents=True, exist_ok=True)
    claim("this kernel has AppArmor", Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y")
    parser = shutil.which("apparmor_parser") or "/sbin/apparmor_parser"
    for name in PROFILES:
        done = subprocess.run(
            [parser, "--replace", "--skip-cache", "/profiles/rampart-" + name],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            claim("the kernel takes the profile " + name, False, done.stderr[-300:])
    loaded = Path("/sys/kernel/security/apparmor/profiles").read_text().splitlines()
    missing = [name for name in PROFILES if "rampart-{0} (enforce)".format(name) not in loaded]
    claim("the kernel takes the five profiles and enforces them", not missing, missing)
    child = subprocess.run(
        [sys.executable, "-c", "open('/etc/file','w'); import os; os.chown('/tmp', 0, 0)"], check=False
    )
    claim("without a profile the same is allowed", child.returncode == 0)
    for name in PROFILES:
        attempts(name)
        facts(name)
    fetcher()
    print("END", flush=True)


main()
