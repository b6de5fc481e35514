# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The laboratory's command line: hosts, a neighbour and an internet that touch nothing of this machine."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

if importlib.util.find_spec("yaml") is None:
    # A bare Debian has no PyYAML; the checkout's own environment has.
    VENV_PYTHON = CHECKOUT / ".venv" / "bin" / "python"
    if not VENV_PYTHON.exists():
        sys.exit("LAB-PYYAML: PyYAML is not there. Run `make venv` or install python3-yaml.")
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])

from labkit import access, machine, registry  # noqa: E402
from labkit.engine import Engine  # noqa: E402
from labkit.errors import LabError  # noqa: E402
from labkit.hosts import Hosts, require_running  # noqa: E402
from labkit.images import Images  # noqa: E402
from labkit.run import step  # noqa: E402
from labkit.settings import find_paths, load_settings  # noqa: E402

SINK_LOG = "/var/log/sink.jsonl"


class Laboratory:
    """The commands. Each returns the exit status."""

    def __init__(self, checkout: Path) -> None:
        self.paths = find_paths(checkout)
        self.settings = load_settings(self.paths)
        self.engine = Engine(self.paths, self.settings)
        self.images = Images(self.paths, self.settings, self.engine.docker)
        self.hosts = Hosts(self.paths, self.settings, self.engine, self.images)

    def command(self, name: str) -> Callable[[argparse.Namespace], int]:
        """The method that runs a command of that name."""
        return {
            "up": self.up,
            "down": self.down,
            "status": self.status,
            "images": self.build_images,
            "cut": self.cut,
            "uplink": self.uplink,
            "exec": self.execute,
            "reset": self.reset,
            "sinks": self.sinks,
            "registry": self.registry,
        }[name]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One command that changes the laboratory at a time; a second one waits."""
        self.paths.state.mkdir(exist_ok=True)
        with (self.paths.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _engine_up(self) -> None:
        with step("packages of the machine"):
            machine.install(self.settings.machine_packages, self.settings.machine_packages_optional)
        with step("Docker Engine in namespaces of its own"):
            self.engine.start()
            self.engine.uplink()

    def up(self, arguments: argparse.Namespace) -> int:
        """Bring everything up, or only what is missing."""
        started = time.monotonic()
        names = self.hosts.wanted(arguments.hosts.split(",") if arguments.hosts else None)
        with self.lock():
            self._engine_up()
            with step("keys and certificates"):
                access.ensure_access(self.paths, self.settings)
            self.images.ensure_registry_store()
            self.hosts.remove_unlisted()
            self.hosts.ensure(names)
            with step("SSH to " + ", ".join(names)):
                self.hosts.check_ssh(names)
        print(f"  laboratory up in {time.monotonic() - started:.1f} s", file=sys.stderr)
        return 0

    def down(self, _arguments: argparse.Namespace) -> int:
        """Take everything away; caches and .lab's keys stay."""
        with self.lock(), step("laboratory down"):
            self.engine.stop()
        return 0

    def build_images(self, _arguments: argparse.Namespace) -> int:
        """Engine up and every image there."""
        with self.lock():
            self._engine_up()
            self.images.ensure_all()
            self.images.ensure_registry_store()
        return 0

    def status(self, _arguments: argparse.Namespace) -> int:
        """Print what is up as JSON; exit status 3 when the engine is down."""
        pid = self.engine.pid()
        document = {
            "engine": {"running": pid is not None, "pid": pid, "socket": str(self.paths.socket)},
            "uplink": self.engine.uplink_pid() is not None,
            "containers": self.hosts.status() if pid else {},
            "cache": str(self.paths.cache),
        }
        print(json.dumps(document, indent=2))
        return 0 if pid else 3

    def cut(self, _arguments: argparse.Namespace) -> int:
        """Take the uplink away."""
        self.engine.require()
        self.engine.cut()
        return 0

    def uplink(self, _arguments: argparse.Namespace) -> int:
        """Give the uplink back."""
        self.engine.require()
        self.engine.uplink()
        return 0

    def execute(self, arguments: argparse.Namespace) -> int:
        """Run a command in a container, as root; its exit status is ours."""
        require_running(self.engine, arguments.host)
        words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        if not words:
            raise LabError("LAB-USAGE", "no command given. Use `lab.py exec HOST -- COMMAND`.")
        flags = ["-it"] if sys.stdin.isatty() and sys.stdout.isatty() else ["-i"]
        os.environ.update(self.engine.docker.environment)
        os.execvp("docker", ["docker", "exec", *flags, arguments.host, *words])

    def reset(self, arguments: argparse.Namespace) -> int:
        """A fresh container under the same name, addresses and keys."""
        self.engine.require()
        with self.lock():
            self.hosts.reset(arguments.host)
            if arguments.host in self.settings.hosts:
                self.hosts.check_ssh([arguments.host])
        return 0

    def sinks(self, arguments: argparse.Namespace) -> int:
        """Print what reached attacked addresses; the stand-in's own services only with --all."""
        name = self.settings.internet.name
        require_running(self.engine, name)
        log = self.engine.docker("exec", name, "cat", SINK_LOG).stdout.decode()
        for line in log.splitlines():
            if arguments.all or json.loads(line)["service"] == "sink":
                print(line)
        if arguments.clear:
            self.engine.docker("exec", name, "truncate", "--size=0", SINK_LOG)
        return 0

    def registry(self, arguments: argparse.Namespace) -> int:
        """Make the registry misbehave, or show what it was asked."""
        require_running(self.engine, self.settings.internet.name)
        control = registry.Registry(self.engine.docker, self.settings.internet.name)
        if arguments.kind == "requests":
            print(control.requests(clear=arguments.clear), end="")
        elif arguments.kind == "show":
            print(json.dumps(control.read(), indent=2))
        else:
            control.apply(registry.fault_from(arguments), blob=arguments.blob, manifest=arguments.manifest)
        return 0


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = top.add_subparsers(dest="name", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring the laboratory up (again)")
    up.add_argument("--hosts", help="comma separated; hosts that are always there need not be named")
    commands.add_parser("down", help="take it away without a trace but caches and .lab")
    commands.add_parser("status", help="what is up, as JSON")
    commands.add_parser("images", help="engine up, every image there")
    commands.add_parser("cut", help="take the uplink away")
    commands.add_parser("uplink", help="give the uplink back")
    command = commands.add_parser("exec", help="run a command in a container")
    command.add_argument("host")
    command.add_argument("command", nargs=argparse.REMAINDER)
    reset = commands.add_parser("reset", help="a fresh container for one host")
    reset.add_argument("host")
    sinks = commands.add_parser("sinks", help="what reached attacked addresses, as JSON lines")
    sinks.add_argument("--clear", action="store_true", help="forget it after printing")
    sinks.add_argument("--all", action="store_true", help="what reached DNS and the registry, too")
    registry.add_arguments(commands.add_parser("registry", help="make the stand-in registry misbehave"))
    return top


def become_root() -> None:
    """Run again under sudo when we are not root; raises LAB-ROOT where that cannot be."""
    if os.geteuid() == 0:
        return
    machine.require_sudo()
    keep = [f"{name}={os.environ[name]}" for name in ("HOME", "RAMPART_CACHE") if name in os.environ]
    command = ["sudo", "env", *keep, sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    os.execvp("sudo", command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors are one line on standard error and exit status 1."""
    arguments = parser().parse_args(argv)
    try:
        become_root()
        laboratory = Laboratory(CHECKOUT)
        status = laboratory.command(arguments.name)(arguments)
        sys.stdout.flush()
        return status
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("LAB-INTERRUPTED: stopped half-way. Run it again, or `lab.py down`.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
