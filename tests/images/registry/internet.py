# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""First process of the internet container: own the addresses, then run DNS, registry and sink.

Reads /srv/internet/config.json: {"owned_ipv4": [CIDR], "owned_ipv6": [CIDR], "resolver": address,
"uplink_resolver": address, "names": {name: address}, "registry_name": name, "cdn_name": name}.
Ends, and with it the container, as soon as one of the three ends: half an internet would make tests lie.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONFIG = HERE / "config.json"


def redirect_rules(config: dict[str, Any]) -> str:
    """nftables rules: every TCP and UDP port of owned addresses, but for the services', leads to the sink."""
    services = ", ".join(sorted({config["resolver"], *config["names"].values()}))
    ipv4, ipv6 = ", ".join(config["owned_ipv4"]), ", ".join(config["owned_ipv6"])
    return f"""
table inet laboratory {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {{ {services} }} return
    ip daddr {{ {ipv4} }} meta l4proto {{ tcp, udp }} redirect to :9
    ip6 daddr {{ {ipv6} }} meta l4proto {{ tcp, udp }} redirect to :9
  }}
}}
"""


def dns_command(config: dict[str, Any]) -> list[str]:
    """dnsmasq in the foreground: our names, and the uplink's resolver for the rest."""
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    # Without a cache nothing can be resolved that the uplink is needed for once it is cut.
    command += ["--cache-size=0", "--user=root", f"--server={config['uplink_resolver']}"]
    command += ["--bind-interfaces", f"--listen-address={config['resolver']}"]
    for name, address in config["names"].items():
        # host-record answers this very name; IPv6 for it is an empty answer, not a question to the outside.
        command += [f"--host-record={name},{address}", f"--local=/{name}/"]
    return command


def own_addresses(config: dict[str, Any]) -> None:
    """Make every address of the owned networks local (AnyIP), single addresses too."""
    for cidr in config["owned_ipv4"] + config["owned_ipv6"]:
        family = f"-{ipaddress.ip_network(cidr).version}"
        subprocess.run(["ip", family, "route", "add", "local", cidr, "dev", "lo"], check=True)
    # A bound listener needs an address that is configured, not only routed.
    for address in sorted({config["resolver"], *config["names"].values()}):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    subprocess.run(["nft", "-f", "-"], input=redirect_rules(config).encode(), check=True)


def main() -> int:
    """Run until a service ends or the container is stopped."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    own_addresses(config)
    python = [sys.executable, "-B"]
    services = {
        "dns": subprocess.Popen(dns_command(config)),
        "registry": subprocess.Popen([*python, str(HERE / "registry.py"), str(CONFIG)]),
        "sink": subprocess.Popen([*python, str(HERE / "sink.py"), str(CONFIG)]),
    }

    def stop(_number: int, _frame: object) -> None:
        for process in services.values():
            process.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    pid, status = os.wait()
    name = next((name for name, process in services.items() if process.pid == pid), "a child")
    print(f"INTERNET-SERVICE-ENDED: {name} ended with {os.waitstatus_to_exitcode(status)}.", file=sys.stderr)
    for process in services.values():
        process.kill()
    return 1


if __name__ == "__main__":
    sys.exit(main())
