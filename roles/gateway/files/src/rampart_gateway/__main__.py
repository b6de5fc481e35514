# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m rampart_gateway``: serve, or only check a configuration directory.

Exit status: 0 done, 2 invalid configuration, 3 cannot start.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import __version__
from .config import ConfigError, load


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway; the process's exit status."""
    parser = argparse.ArgumentParser(prog="rampart_gateway", description="The gateway in front of Ollama.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--config-dir", type=Path, default=Path("/etc/gateway"), metavar="DIR")
    parser.add_argument("--check-config", type=Path, metavar="DIR", help="validate the two files in DIR, then end")
    options = parser.parse_args(arguments)
    directory: Path = options.check_config or options.config_dir
    try:
        config, secrets = load(directory)
    except ConfigError as error:
        print(f"GW-CONFIG-INVALID: {error}. Correct the file, then start the gateway again.", file=sys.stderr)
        return 2
    if options.check_config:
        print(f"configuration valid: {len(config.models)} model(s), {len(secrets.users)} user(s)")
        return 0
    import uvloop  # the servers' modules load only when there is something to serve

    from .server import StartError, run

    try:
        uvloop.run(run(config, secrets))
    except StartError as failure:
        print(f"GW-START-FAILED: {failure}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
