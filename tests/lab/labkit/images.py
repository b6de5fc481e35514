# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Base images (pulled, or made of Debian packages) and the laboratory's own images, built once and cached."""

from __future__ import annotations

import hashlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

from labkit.errors import LabError
from labkit.run import Docker, run, step
from labkit.settings import Paths, Settings

REGISTRY_PROBE = "https://registry-1.docker.io/v2/"
# What Debian's official slim images leave out, too.
LEFT_OUT = ("man", "doc", "info", "locale", "lintian", "groff", "linda")


def registry_answers(timeout: float = 5) -> bool:
    """Whether an image registry can be reached from this machine."""
    try:
        with urllib.request.urlopen(REGISTRY_PROBE, timeout=timeout):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401  # It wants a token: that is the registry itself.
    except OSError:
        return False


def context_hash(directory: Path) -> str:
    """Hash of names, modes and bytes below `directory`: the identity of a build's input."""
    digest = hashlib.sha256()
    for file in sorted(path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = file.read_bytes()
        executable = bool(file.stat().st_mode & 0o100)
        digest.update(f"{file.relative_to(directory)}\0{executable}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


class Images:
    """Make sure images are there; every method is a no-op when they are."""

    def __init__(self, paths: Paths, settings: Settings, docker: Docker) -> None:
        self.paths = paths
        self.settings = settings
        self.docker = docker
        self._registry: bool | None = None

    def image_id(self, name: str) -> str | None:
        """Configuration digest (`sha256:...`) of an image, or None."""
        done = self.docker("image", "inspect", "-f", "{{.Id}}", name, check=False)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def ensure_base(self, name: str) -> str:
        """Id of a base image; pulled or made when missing."""
        found = self.image_id(name)
        if found:
            return found
        if self._registry is None:
            self._registry = registry_answers()
        if self._registry:
            with step(f"pull {name}"):
                self.docker("pull", "--quiet", name, timeout=900)
        else:
            self._import_base(name)
        made = self.image_id(name)
        if made is None:
            raise LabError("LAB-IMAGE", f"{name} was not made. Run `lab.py images` again.")
        return made

    def _import_base(self, name: str) -> None:
        """Make a base image of Debian packages; its archive stays in the cache."""
        base = self.settings.base_images[name]
        archive = self.paths.cache / "images" / (name.replace(":", "-") + ".tar")
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            part = archive.with_suffix(".part")
            # setsid: mmdebstrap's apt would stop on terminal output of a background process group.
            command = ["setsid", "--wait", "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar"]
            command += [f"--dpkgopt=path-exclude=/usr/share/{directory}/*" for directory in LEFT_OUT]
            command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
            command += ['--aptopt=APT::Install-Recommends "false"']
            if not base.check_valid_until:
                command += ['--aptopt=Acquire::Check-Valid-Until "false"']
            with step(f"make {name} of Debian packages ({base.suite})"):
                run([*command, base.suite, str(part)], timeout=1800)
                part.rename(archive)
        with step(f"import {name}"):
            self.docker("import", "--change", 'CMD ["bash"]', str(archive), name)

    def ensure_own(self, key: str) -> str:
        """Name of one of our own images; built when its Dockerfile's directory or its base changed."""
        image = self.settings.images[key]
        base_id = self.ensure_base(image.base)
        context = self.paths.checkout / image.context
        inputs = hashlib.sha256(f"{base_id} {context_hash(context)}".encode()).hexdigest()
        name = f"rampart-lab/{key}:{inputs[:16]}"
        if self.image_id(name) is None:
            with step(f"build {key}"):
                self.docker("build", "--quiet", "--build-arg", f"BASE_IMAGE={image.base}", "-t", name, str(context))
            self._forget_old(key, name)
        return name

    def _forget_old(self, key: str, current: str) -> None:
        """Drop earlier builds of an image, unless a container still uses them."""
        for old in self.docker.lines("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"rampart-lab/{key}"):
            if old != current:
                self.docker("rmi", old, check=False)

    def ensure_all(self) -> None:
        """Every base image, every image of ours, and the stand-in for Ollama where its builder is there."""
        for name in self.settings.base_images:
            self.ensure_base(name)
        for key in self.settings.images:
            self.ensure_own(key)
        self._ensure_ollama()

    def _python(self) -> str:
        """The checkout's own interpreter where there is one: it has pip, which a system Python may lack."""
        own = self.paths.checkout / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def _ensure_ollama(self) -> None:
        builder = self.paths.checkout / "tests" / "images" / "ollama" / "build.py"
        if not builder.exists():
            return
        with step("image of the server (official, or the stand-in)"):
            host = f"unix://{self.paths.socket}"
            run([self._python(), str(builder), "--docker-host", host, "--cache", str(self.paths.cache)], timeout=1800)

    def ensure_registry_store(self) -> None:
        """The model store that the stand-in registry serves, in the cache."""
        store = self.paths.registry_store
        maker = self.paths.checkout / "tests" / "images" / "ollama" / "model.py"
        stamp = store / ".made-by"
        wanted = hashlib.sha256(maker.read_bytes()).hexdigest() if maker.exists() else ""
        if wanted and (not stamp.exists() or stamp.read_text(encoding="ascii") != wanted):
            with step("model store of the registry"):
                cache = str(self.paths.cache)
                run([self._python(), str(maker), "--store", str(store), "--cache", cache], timeout=900)
            stamp.write_text(wanted, encoding="ascii")
        for name in ("manifests", "blobs"):
            (store / name).mkdir(parents=True, exist_ok=True)
