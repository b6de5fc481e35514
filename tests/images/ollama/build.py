# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put `ollama/ollama:<pinned>` into a Docker Engine: the official image, or the stand-in under its name.

    python3 build.py --docker-host unix:///path/docker.sock [--cache DIR]

Prints one JSON line: image, id, kind (`official` or `stand-in`). An engine that has it already is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(CHECKOUT / "tests" / "lab"))

from labkit.errors import LabError  # noqa: E402
from labkit.images import Images, context_hash, registry_answers  # noqa: E402
from labkit.run import Docker, run, step  # noqa: E402
from labkit.settings import Paths, find_paths, load_settings  # noqa: E402

# The oldest version without a known hole; roles/ollama pins the same.
TAG = "0.32.10"
IMAGE = f"ollama/ollama:{TAG}"
BASE_IMAGE = "debian:testing-slim"
LABEL = "rampart.stand-in"
PULL_TIMEOUT = 1200  # seconds; the official image has some gigabytes


def inputs_hash() -> str:
    """What the stand-in is built from, as 64 hex digits: its identity in the image's label."""
    dockerfile = hashlib.sha256((HERE / "Dockerfile").read_bytes()).hexdigest()
    return hashlib.sha256(f"{dockerfile} {context_hash(HERE / 'ollama_standin')}".encode()).hexdigest()


def present(docker: Docker) -> tuple[str, str | None] | None:
    """(id, stand-in's label or None) of the image in the engine; None when it is not there."""
    wanted = '{{.Id}} {{index .Config.Labels "' + LABEL + '"}}'
    done = docker("image", "inspect", "--format", wanted, IMAGE, check=False)
    if done.returncode != 0:
        return None
    words = done.stdout.decode().split()
    return words[0], words[1] if len(words) > 1 and words[1] != "<no" else None


def pull(docker: Docker) -> bool:
    """Pull the official image when a registry answers within seconds; False when that is not possible."""
    if not registry_answers():
        return False
    try:
        with step(f"pull {IMAGE}"):
            docker("pull", "--quiet", IMAGE, timeout=PULL_TIMEOUT)
    except LabError as error:
        print(f"{error} The stand-in is built instead.", file=sys.stderr)
        return False
    return True


def build(docker: Docker, paths: Paths, inputs: str) -> None:
    """Build the stand-in under the official image's name."""
    Images(paths, load_settings(paths), docker).ensure_base(BASE_IMAGE)
    command = ["docker", "build", "--quiet", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}"]
    command += ["--build-arg", f"INPUTS={inputs}", "--tag", IMAGE, str(HERE)]
    with step(f"build the stand-in for {IMAGE}"):
        run(command, environment=docker.environment, timeout=1200)


def ensure(docker: Docker, paths: Paths) -> dict[str, str]:
    """Make sure the image is in the engine; image, id and kind. Raises LabError."""
    inputs = inputs_hash()
    found = present(docker)
    if found is None or found[1] not in (None, inputs):
        # A stand-in of an older state is in the way only of a newer one: an official image stays.
        if found is not None or not pull(docker):
            build(docker, paths, inputs)
        found = present(docker)
        if found is None:
            raise LabError("STANDIN-BUILD", f"{IMAGE} was not made. Look at the engine's log and run this again.")
    return {"image": IMAGE, "id": found[0], "kind": "official" if found[1] is None else "stand-in"}


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 on success, 2 with one line on standard error otherwise."""
    parser = argparse.ArgumentParser(description=f"Put {IMAGE}, or its stand-in, into a Docker Engine.")
    parser.add_argument("--docker-host", required=True, help="unix:///path of the engine's socket")
    parser.add_argument("--cache", type=pathlib.Path, help="cache directory (default: $RAMPART_CACHE)")
    options = parser.parse_args(arguments)
    scheme, _rest, socket = options.docker_host.partition("://")
    if scheme != "unix" or not socket:
        parser.error("--docker-host must be unix:///path/of/docker.sock")
    environment = {"RAMPART_CACHE": str(options.cache)} if options.cache else None
    try:
        paths = find_paths(CHECKOUT, environment) if environment else find_paths(CHECKOUT)
        print(json.dumps(ensure(Docker(pathlib.Path(socket)), paths)))
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
