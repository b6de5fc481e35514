# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: a download that is cut, or whose processes are killed, ends with a verified model and never with a half one.

The registry is the laboratory's stand-in over TLS behind a proxy on a Unix socket; the fetcher is the program that its
image runs, the publisher the one that the module runs. Only the engine between them is missing: the fetcher is started
as a process. The seed is printed; RAMPART_SEED repeats a run.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import CDN, REGISTRY, Loopback

from ansible_collections.rampart.ollama.plugins.module_utils import acquire, sources
from ansible_collections.rampart.ollama.plugins.module_utils.approval import Approval, approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_TYPE, LAYER_PREFIX, MANIFEST_TYPE
from ansible_collections.rampart.ollama.plugins.module_utils.names import digest_of_file
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.verify import verify

pytestmark = [pytest.mark.row("S2"), pytest.mark.slow]
HOME = Path(__file__).parents[2]
CUTS = 50
KILLS = 30
WEIGHTS = 12_000_000
SPLIT_FROM = 1_000_000


@pytest.fixture
def dice() -> random.Random:
    seed = int(os.environ.get("RAMPART_SEED") or random.SystemRandom().randrange(1 << 32))
    print("RAMPART_SEED={0}".format(seed))
    return random.Random(seed)


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


class Model:
    """One large blob, one that is just too small to be split, some small ones, and an empty one."""

    def __init__(self, dice: random.Random) -> None:
        config = json.dumps({"model_format": "gguf", "made": dice.random()}).encode()
        parts = [dice.randbytes(size) for size in (WEIGHTS, SPLIT_FROM - 1, 30_000, 500, 0)]
        layers = [descriptor(parts[0], LAYER_PREFIX + "model")]
        layers += [descriptor(data, LAYER_PREFIX + "license") for data in parts[1:]]
        body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor(config, CONFIG_TYPE)}
        self.manifest = json.dumps({**body, "layers": layers}).encode()
        self.digest = "sha256:" + hashlib.sha256(self.manifest).hexdigest()
        self.blobs = {"sha256:" + hashlib.sha256(data).hexdigest(): data for data in (config, *parts)}
        blobs = [{"digest": digest, "size": len(data)} for digest, data in self.blobs.items()]
        self.entry = {"reference": "test:1", "digest": self.digest, "blobs": blobs, "source": REGISTRY}


class Host:
    """A store, a quarantine, the fetcher's package, and what has to be true of the store at any moment."""

    def __init__(self, directory: Path, internet: Loopback, made: Model) -> None:
        self.internet, self.made = internet, made
        self.store = ModelStore(directory / "store", os.getuid(), os.getgid())
        self.quarantine = directory / "quarantine"
        self.package = directory / "package"
        for path in (self.store.root, self.quarantine):
            path.mkdir()
        self.quarantine.chmod(0o700)
        context = HOME / "roles/model_store/files/image-fetcher"
        wanted = yaml.safe_load((context / "context.yml").read_text())
        shutil.copytree(context / wanted["package"], self.package / wanted["package"])
        for name in wanted["files"]:
            shutil.copy(HOME / "plugins/module_utils" / name, self.package / wanted["package"] / name)
        self.approval = approval_from_entry(made.entry)

    def require_whole_or_nothing(self) -> bool:
        """Look at the store as Ollama would. Return whether the model is there."""
        blobs = self.store.path("blobs")
        held = sorted(blobs.iterdir()) if blobs.is_dir() else []
        for path in held:
            assert digest_of_file(path.name) == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        manifests = [path for path in self.store.path("manifests").rglob("*") if path.is_file()]
        if not manifests:
            return False
        assert [path.read_bytes() for path in manifests] == [self.made.manifest]
        assert {digest_of_file(path.name) for path in held} == set(self.made.blobs)
        return True

    def require_verified(self) -> None:
        """Nothing but the model is there, every byte of it right; quarantine is empty."""
        assert self.require_whole_or_nothing()
        report = verify(self.store, {self.approval.name.key: self.approval})
        assert report.findings == []
        assert list(self.quarantine.iterdir()) == []

    def job(self, blobs: Mapping[str, int], directory: Path, attempts: int) -> str:
        """What the fetcher is told, with the paths of this machine."""
        limits = {"operation_seconds": 10.0, "total_seconds": 120.0, "attempts": attempts, "retry_seconds": 0.005}
        return json.dumps(
            {
                "version": 2,
                "host": REGISTRY,
                "repository": "library/test",
                "tag": "1",
                "digest": self.made.digest,
                "blobs": dict(blobs),
                "hosts": [CDN],
                "proxy_socket": str(self.internet.socket_path),
                "directory": str(directory),
                "ca_bundle": str(self.internet.ca_path),
                "limits": {**limits, "connections": 4, "split_from": SPLIT_FROM},
            }
        )

    def environment(self, job: str) -> dict[str, str]:
        """The environment of the fetcher's process."""
        return {"RAMPART_JOB": job, "PYTHONPATH": str(self.package), "PYTHONDONTWRITEBYTECODE": "1"}


class Processes:
    """The registry as a source whose fetcher is a process of this machine; `kill_after` ends it that many ms in."""

    def __init__(self, host: Host, attempts: int = 1, kill_after: int | None = None) -> None:
        self.host, self.attempts, self.kill_after = host, attempts, kill_after

    def require_ready(self) -> None:
        """Always."""

    def part(self, quarantine: Path, approval: Approval) -> Path:
        """As the registry's own."""
        return quarantine / approval.digest.replace(":", "-")

    def bring(self, approval: Approval, blobs: Mapping[str, int], quarantine: Path) -> sources.Delivery:
        """Run the fetcher; what it leaves is what a container would leave."""
        directory = self.part(quarantine, approval)
        directory.mkdir(exist_ok=True, mode=0o700)
        process = subprocess.Popen(
            [sys.executable, "-m", "rampart_fetcher"],
            env=self.host.environment(self.host.job(blobs, directory, self.attempts)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            stdout, _stderr = process.communicate(timeout=None if self.kill_after is None else self.kill_after / 1000)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, _stderr = process.communicate()
        answer = json.loads(stdout.splitlines()[-1]) if stdout.strip() else {}
        if process.returncode != 0:
            sources._tidy(directory)
            raise FindingError(sources_finding(answer, process.returncode))
        return sources.Delivery(
            directory,
            (directory / "manifest").read_bytes(),
            {digest: directory / digest.replace(":", "-") for digest in blobs},
            answer,
        )


def sources_finding(answer: dict[str, Any], status: int) -> Any:
    from ansible_collections.rampart.ollama.plugins.module_utils.fetch_container import _finding_of

    return _finding_of(answer, status, "")


@pytest.fixture
def host(tmp_path: Path, dice: random.Random) -> Iterator[Host]:
    directory = tmp_path / "internet"
    directory.mkdir()
    internet = Loopback(directory)
    made = Model(dice)
    internet.add("test:1", made.manifest, made.blobs)
    yield Host(tmp_path, internet, made)
    internet.close()


def test_s2_a_download_cut_50_times_ends_with_a_verified_model(host: Host, dice: random.Random) -> None:
    """One run, patient: its connections are cut at random places, in handshakes, heads and bodies."""
    left = [CUTS]

    def cut() -> int | None:
        if not left[0]:
            return None
        left[0] -= 1
        return dice.choice([dice.randrange(1, 200), dice.randrange(1, 8000), dice.randrange(1, 1_500_000)])

    host.internet.cut = cut
    acquire.present(host.store, host.quarantine, Processes(host, attempts=CUTS + 1), host.approval)
    assert left == [0]
    host.require_verified()


def test_s2_a_model_that_takes_50_cut_runs_is_never_there_by_half(host: Host, dice: random.Random) -> None:
    """Impatient runs: each of them ends at a cut, and the next one goes on where it ended."""
    cut_runs = 0
    while cut_runs < CUTS:
        # A few connections bring something, and then none does.
        free = itertools.chain(itertools.repeat(300_000, dice.randrange(2, 12)), itertools.repeat(60))
        host.internet.cut = functools.partial(lambda most: dice.randrange(1, next(most)), free)
        try:
            acquire.present(host.store, host.quarantine, Processes(host), host.approval)
        except FindingError as error:
            assert error.finding.code == "FETCH-UNREACHABLE"
            cut_runs += 1
            assert not host.require_whole_or_nothing()
        else:
            host.require_verified()
            acquire.absent(host.store, host.approval.name)
    host.internet.cut = lambda: None
    host.internet.forget()
    acquire.present(host.store, host.quarantine, Processes(host), host.approval)
    host.require_verified()


def test_s2_a_fetcher_killed_at_any_moment_leaves_nothing_half_and_is_continued(
    host: Host, dice: random.Random
) -> None:
    host.internet.misbehave(default={"kind": "slow", "seconds": 0.02})
    killed = kept = 0
    while killed < KILLS:
        try:
            moment = dice.randrange(100, 700)
            acquire.present(host.store, host.quarantine, Processes(host, kill_after=moment), host.approval)
        except FindingError:
            killed += 1
            assert not host.require_whole_or_nothing()
            held = sum(path.stat().st_blocks * 512 for path in host.quarantine.rglob("*") if path.is_file())
            kept = max(kept, held)
        else:
            host.require_verified()
            acquire.absent(host.store, host.approval.name)
    host.internet.misbehave()
    acquire.present(host.store, host.quarantine, Processes(host), host.approval)
    assert kept > SPLIT_FROM
    host.require_verified()


WHOLE_RUN = """
import json, os, sys
from pathlib import Path
from ansible_collections.rampart.ollama.plugins.module_utils import acquire, fetcher, sources
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

told = json.loads(sys.argv[1])

class InProcess:
    def require_ready(self):
        pass
    def part(self, quarantine, approval):
        return Path(told["part"])
    def bring(self, approval, blobs, quarantine):
        part = Path(told["part"])
        part.mkdir(exist_ok=True, mode=0o700)
        fetcher.fetch(fetcher.Job.from_json(json.dumps({**told["job"], "blobs": dict(blobs)})))
        files = {digest: part / digest.replace(":", "-") for digest in blobs}
        return sources.Delivery(part, (part / "manifest").read_bytes(), files)

store = ModelStore(told["store"], os.getuid(), os.getgid())
acquire.present(store, Path(told["quarantine"]), InProcess(), approval_from_entry(told["entry"]))
"""


def workshop_of(store: ModelStore) -> int:
    """Which directory the publisher works in, 0 when it does not."""
    try:
        return store.path(".publishing").stat().st_ctime_ns
    except FileNotFoundError:
        return 0


def test_s2_a_module_killed_at_any_moment_leaves_nothing_half_and_is_continued(
    host: Host, dice: random.Random
) -> None:
    """Everything in one process that dies at once: fetching, copying, hashing, renaming."""
    part = host.quarantine / host.made.digest.replace(":", "-")
    told = {
        "store": str(host.store.root),
        "quarantine": str(host.quarantine),
        "part": str(part),
        "entry": host.made.entry,
        "job": json.loads(host.job({}, part, attempts=3)),
    }
    environment = {"PYTHONPATH": str(HOME / ".collections"), "PYTHONDONTWRITEBYTECODE": "1"}
    killed = publishing = 0
    while killed < KILLS:
        process = subprocess.Popen(
            [sys.executable, "-c", WHOLE_RUN, json.dumps(told)], env=environment, stderr=subprocess.DEVNULL
        )
        # Left by the run before: the publisher makes a new one.
        left = workshop_of(host.store)
        while dice.random() < 0.995 and process.poll() is None and workshop_of(host.store) in (0, left):
            time.sleep(0.005)
        time.sleep(dice.random() / 20)
        process.kill()
        killed += process.wait() == -9
        publishing += workshop_of(host.store) not in (0, left)
        if host.require_whole_or_nothing():
            acquire.absent(host.store, host.approval.name)
    print("killed", killed, "of these while publishing", publishing)
    assert publishing > 0
    acquire.present(host.store, host.quarantine, Processes(host), host.approval)
    host.require_verified()
