# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three inventories, a copy of the collection, and the plays run against them. No host is ever reached."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.rampart.ollama.plugins.plugin_utils import promotion_lookup
from promotion_rig import ROOT, Company, approval, lock

PASSPHRASE = "seven-wet-lemons-argue"
ENVIRONMENTS = ("dev", "staging", "prod")
# A name that never resolves: a play that reached for a host would fail.
HOSTS = ("h1.invalid", "h2.invalid")


@dataclass
class Site(Company):
    """The company with inventories as people keep them, and plays instead of the library."""

    home: Path = field(default=Path())
    collections: Path = field(default=Path())

    def __post_init__(self) -> None:
        self.images.parent.mkdir(parents=True)
        self.images.write_text(json.dumps(lock()), encoding="utf-8")
        self.home.mkdir()
        for environment in ENVIRONMENTS:
            place = self.inventory(environment)
            place.mkdir(parents=True)
            group = {"ollama_hosts": {"hosts": dict.fromkeys(HOSTS)}}
            self.dump(place / "hosts.yml", {"all": {"children": group}})
            self.dump(
                place / "group_vars/all.yml",
                {
                    "rampart_environment": environment,
                    "rampart_models": ["mistral:7b-instruct-v0.3-q4_K_M"],
                    "images_artifacts_dir": str(self.images.parent),
                    "ansible_become": True,
                    "ansible_user": "nobody",
                },
            )
        self.approve()
        self.dump(self.vault, {"promotion_passphrase": PASSPHRASE})

    @staticmethod
    def dump(path: Path, document: Any) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(document), encoding="utf-8")

    @property
    def vault(self) -> Path:
        return self.root / "vault.yml"

    @property
    def trusted_keys(self) -> Path:
        return self.root / "inventories/trusted_keys.yaml"

    @property
    def promotions(self) -> Path:
        return self.root / "inventories/promotions"

    def inventory(self, environment: str) -> Path:
        return self.root / "inventories" / environment

    def reports_of(self, environment: str) -> Path:
        return self.inventory(environment) / "reports"

    def envelope(self, environment: str) -> Path:
        return self.reports_of(environment) / environment / "evidence.dsse.json"

    def approve(self, digest: str = "", environments: Any = ENVIRONMENTS) -> None:
        for environment in ENVIRONMENTS:
            document = {"models": [approval(digest or self.model, environments)]}
            self.dump(self.inventory(environment) / "models_registry.yaml", document)

    def promoted(self, target: str) -> list[Path]:
        return sorted((self.promotions / target).glob(f"*{promotion_lookup.SUFFIX}"))

    # --- plays
    def command(self, play: str, environment: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
        variables = {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_LOCAL_TEMP": str(self.root / "tmp"),
            "HOME": str(self.home),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "RAMPART_"))}
        program = Path(sys.executable).with_name("ansible-playbook")
        command = [str(program), "-i", str(self.inventory(environment)), play, *arguments]
        return command, {**kept, **variables}

    def play(
        self, play: str, environment: str, *arguments: str, vault: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a play of the collection; the passphrase comes from a file."""
        more = ["-e", f"@{self.vault}"] if vault else []
        command, variables = self.command(play, environment, *more, *arguments)
        done = subprocess.run(
            command,
            cwd=self.root,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        output = done.stdout + done.stderr
        assert "Traceback" not in output
        assert PASSPHRASE not in output
        return done

    def passes(self, play: str, environment: str, *arguments: str) -> str:
        done = self.play(play, environment, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, code: str, play: str, environment: str, *arguments: str) -> str:
        """The play fails with this code, told once."""
        done = self.play(play, environment, *arguments)
        output = done.stdout + done.stderr
        assert done.returncode != 0, output
        told = re.findall(r"\b([A-Z]+(?:-[A-Z]+)+): ", output)
        assert set(told) == {code}, output
        return output

    def typed(self, play: str, environment: str, answers: list[str], *arguments: str) -> tuple[int, str]:
        """Run a play in a terminal, typing each answer when something is asked."""
        command, variables = self.command(play, environment, *arguments)
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(self.root)
            os.execvpe(command[0], command, variables)
        output, waiting, asked = "", list(answers), 0
        while select.select([terminal], [], [], 60)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:
                # The other side was closed: the play has ended.
                break
            output += data.decode("utf-8", "replace")
            if waiting and output.count("(output is hidden):") > asked:
                asked += 1
                self.hidden(terminal)
                os.write(terminal, (waiting.pop(0) + "\r").encode())
        else:
            os.kill(process, signal.SIGTERM)
        _pid, status = os.waitpid(process, 0)
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), output

    @staticmethod
    def hidden(terminal: int) -> None:
        """Wait as a person does: the question stands there a moment before the terminal stops to echo."""
        for _try in range(200):
            if not termios.tcgetattr(terminal)[3] & termios.ECHO:
                return
            time.sleep(0.05)
        raise AssertionError("the terminal still echoes what is typed")
