# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""lab.yml as typed, validated objects, and the paths derived from the checkout."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from labkit.errors import LabError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Network:
    """The hosts' LAN: CIDRs, the bridge's own addresses, and the resolver behind the uplink."""

    name: str
    ipv4: str
    ipv6: str
    ipv4_gateway: str
    ipv6_gateway: str
    uplink_resolver: str


@dataclass(frozen=True)
class BaseImage:
    """A Debian suite that an image is made of where none can be pulled."""

    suite: str
    check_valid_until: bool


@dataclass(frozen=True)
class BuiltImage:
    """An image of our own: Dockerfile directory (relative to the checkout) and base image name."""

    context: str
    base: str


@dataclass(frozen=True)
class Internet:
    """The stand-in for the internet: names it answers for and addresses it owns."""

    name: str
    image: str
    ipv4: str
    ipv6: str
    resolver: str
    names: dict[str, str]
    registry_name: str
    cdn_name: str
    owned_ipv4: list[str]
    owned_ipv6: list[str]


@dataclass(frozen=True)
class Host:
    """A container host: image key, fixed addresses, and when `up` starts it (always, default, asked)."""

    image: str
    ipv4: str
    ipv6: str
    start: str
    apt_cache: bool


@dataclass(frozen=True)
class Admin:
    """The account Ansible logs in with."""

    name: str
    uid: int


@dataclass(frozen=True)
class Settings:
    """Everything lab.yml decides."""

    machine_packages: list[str]
    machine_packages_optional: list[str]
    network: Network
    base_images: dict[str, BaseImage]
    images: dict[str, BuiltImage]
    internet: Internet
    hosts: dict[str, Host]
    admin: Admin


def _build(kind: type[_T], value: object, where: str) -> _T:
    """Make a flat dataclass of a mapping; unknown or missing keys raise LAB-SETTINGS."""
    if not isinstance(value, Mapping):
        raise LabError("LAB-SETTINGS", f"{where} is not a mapping. Mend tests/lab/lab.yml.")
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if set(value) != known:
        odd = ", ".join(sorted(known ^ set(value)))
        raise LabError("LAB-SETTINGS", f"{where}: unknown or missing keys: {odd}. Mend tests/lab/lab.yml.")
    return kind(**value)


def _build_all(kind: type[_T], value: object, where: str) -> dict[str, _T]:
    """Make a dict of flat dataclasses."""
    if not isinstance(value, Mapping):
        raise LabError("LAB-SETTINGS", f"{where} is not a mapping. Mend tests/lab/lab.yml.")
    return {str(name): _build(kind, item, f"{where}.{name}") for name, item in value.items()}


def parse_settings(document: object) -> Settings:
    """Validate a loaded lab.yml. Raises LabError LAB-SETTINGS naming the first thing that is wrong."""
    raw = _build(Settings, document, "lab.yml")
    settings = dataclasses.replace(
        raw,
        network=_build(Network, raw.network, "network"),
        base_images=_build_all(BaseImage, raw.base_images, "base_images"),
        images=_build_all(BuiltImage, raw.images, "images"),
        internet=_build(Internet, raw.internet, "internet"),
        hosts=_build_all(Host, raw.hosts, "hosts"),
        admin=_build(Admin, raw.admin, "admin"),
    )
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """Cross references and addresses: a slip here would otherwise surface as a strange Docker error."""
    lan = (ipaddress.ip_network(settings.network.ipv4), ipaddress.ip_network(settings.network.ipv6))
    seen: set[str] = set()
    machines: dict[str, Host | Internet] = {**settings.hosts, settings.internet.name: settings.internet}
    for name, machine in machines.items():
        if machine.image not in settings.images:
            raise LabError("LAB-SETTINGS", f"{name}: image {machine.image} is not listed. Mend lab.yml.")
        for text in (machine.ipv4, machine.ipv6):
            address = ipaddress.ip_address(text)
            if address not in lan[0 if address.version == 4 else 1]:
                raise LabError("LAB-SETTINGS", f"{name}: {text} is outside the network. Mend lab.yml.")
            if text in seen:
                raise LabError("LAB-SETTINGS", f"{name}: {text} is taken twice. Mend lab.yml.")
            seen.add(text)
    for name, host in settings.hosts.items():
        if host.start not in ("always", "default", "asked"):
            raise LabError("LAB-SETTINGS", f"{name}: start is always, default or asked. Mend lab.yml.")
    for name, image in settings.images.items():
        if image.base not in settings.base_images:
            raise LabError("LAB-SETTINGS", f"image {name}: base {image.base} is not listed. Mend lab.yml.")


@dataclass(frozen=True)
class Paths:
    """Where everything of one checkout's laboratory lies."""

    checkout: Path
    cache: Path

    @property
    def identity(self) -> str:
        """Short name that no other checkout's laboratory on this machine has."""
        return "rampart-lab-" + hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]

    @property
    def state(self) -> Path:
        """.lab: keys, certificates, configuration: what the person running the laboratory uses."""
        return self.checkout / ".lab"

    @property
    def run(self) -> Path:
        """Sockets and process files: a short path, for Unix socket paths end at 107 bytes."""
        return Path("/run") / self.identity

    @property
    def socket(self) -> Path:
        """Docker's API."""
        return self.run / "docker.sock"

    @property
    def engine_pid(self) -> Path:
        """Process id of dockerd."""
        return self.run / "docker.pid"

    @property
    def uplink_pid(self) -> Path:
        """Process id of slirp4netns."""
        return self.run / "uplink.pid"

    @property
    def docker_data(self) -> Path:
        """Docker's data root: images stay there between runs."""
        return self.cache / "docker"

    @property
    def registry_store(self) -> Path:
        """Ollama store that the stand-in registry serves."""
        return self.cache / "registry"

    @property
    def lab_directory(self) -> Path:
        """tests/lab of the checkout."""
        return self.checkout / "tests" / "lab"


def find_paths(checkout: Path, environment: Mapping[str, str] | None = None) -> Paths:
    """Paths of `checkout`; RAMPART_CACHE moves the cache (absolute or relative to the working directory)."""
    environment = os.environ if environment is None else environment
    home = Path(environment.get("HOME", "/root"))
    cache = Path(environment.get("RAMPART_CACHE") or home / ".cache" / "rampart")
    return Paths(checkout=checkout.resolve(), cache=cache.absolute())


def load_settings(paths: Paths) -> Settings:
    """Read and validate tests/lab/lab.yml."""
    source = paths.lab_directory / "lab.yml"
    try:
        document: Any = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise LabError("LAB-SETTINGS", f"{source} cannot be read: {error}. Restore it.") from error
    return parse_settings(document)
