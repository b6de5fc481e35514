# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration, prompts, sockets and the process itself: bad input ends in one clear line (rows P1, P2, P9)."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_rig import HASH_KEY, config_of, secrets_of, write_files

import rampart_gateway
from rampart_gateway.config import ConfigError, load
from rampart_gateway.server import StartError, listen

SOURCE = Path(rampart_gateway.__file__).parent.parent
PROMPTS = SOURCE / "rampart_gateway" / "prompts"
pytestmark = pytest.mark.row("P1")

Change = Callable[[dict[str, Any], dict[str, Any]], Any]
BAD: dict[str, tuple[Change, str]] = {
    "unknown-key": (lambda c, s: c.update(modles=[]), "unknown key 'modles'"),
    "unknown-limit": (lambda c, s: c["limits"].update(per_minute=1), "unknown key 'per_minute'"),
    "version": (lambda c, s: c.update(version=2), "'version' must be 1"),
    "no-version": (lambda c, s: c.pop("version"), "'version' is missing"),
    "no-models": (lambda c, s: c.update(models=[]), "'models' is empty"),
    "model-type": (lambda c, s: c.update(models=[1]), "not a full 'name:tag'"),
    "model-no-tag": (lambda c, s: c.update(models=["mistral"]), "not a full 'name:tag'"),
    "model-path": (lambda c, s: c.update(models=["../../x:y"]), "not a full 'name:tag'"),
    "model-cloud": (lambda c, s: c.update(models=["gpt-oss:120b-cloud"]), "runs in the cloud"),
    "model-cloud-tag": (lambda c, s: c.update(models=["gpt-oss:CLOUD"]), "runs in the cloud"),
    "model-twice": (lambda c, s: c.update(models=["a:b", "A:b"]), "names a model twice"),
    "no-prompt": (lambda c, s: c.pop("system_prompt"), "'system_prompt' is missing"),
    "empty-prompt": (lambda c, s: c.update(system_prompt=" \n"), "1 to 20000 characters"),
    "prompt-company": (lambda c, s: c.update(system_prompt="de {company}"), "placeholder {company}"),
    "prompt-entreprise": (lambda c, s: c.update(system_prompt="de [ENTREPRISE]"), "placeholder [ENTREPRISE]"),
    "limit-zero": (lambda c, s: c["limits"].update(per_hour=0), "'per_hour' must be from 1"),
    "limit-bool": (lambda c, s: c["limits"].update(per_hour=True), "'per_hour' must be of type int"),
    "limit-text": (lambda c, s: c["limits"].update(per_hour="20"), "'per_hour' must be of type int"),
    "option-unknown": (lambda c, s: c.update(options={"num_ctx": {}}), "'num_ctx' cannot be opened"),
    "option-wide": (lambda c, s: c.update(options={"temperature": {"max": 3}}), "range must lie within 0 to 2"),
    "option-endless": (lambda c, s: c.update(options={"num_predict": {"min": -1}}), "range must lie within 1"),
    "option-reversed": (lambda c, s: c.update(options={"top_k": {"min": 9, "max": 2}}), "range must lie within"),
    "option-typo": (lambda c, s: c.update(options={"top_k": {"maximum": 2}}), "unknown key 'maximum'"),
    "option-type": (lambda c, s: c.update(options={"top_k": {"max": "2"}}), "'max' must be a number"),
    "language": (lambda c, s: c.update(languages=["de"]), "'languages' must list"),
    "no-language": (lambda c, s: c.update(languages=[]), "'languages' must list"),
    "relative": (lambda c, s: c.update(socket="gateway.sock"), "'socket' must be an absolute path"),
    "same-socket": (lambda c, s: c.update(metrics_socket=c["socket"]), "must be three paths"),
    "no-hash-key": (lambda c, s: s.pop("hash_key"), "'hash_key' is missing"),
    "short-key": (lambda c, s: s.update(hash_key="ab" * 16), "'hash_key' must be 32 to 64"),
    "weak-key": (lambda c, s: s.update(hash_key="00" * 32), "'hash_key' must be 32 to 64"),
    "equal-keys": (lambda c, s: s.update(query_hash_key=HASH_KEY.hex()), "must differ"),
    "user-id": (lambda c, s: s["users"][0].update(id="a b"), "'id' must be 1 to 64"),
    "user-unknown": (lambda c, s: s["users"][0].update(id="unknown"), "not 'unknown'"),
    "user-twice": (lambda c, s: s["users"][0].update(id="BOB@example.org"), "same 'id'"),
    "user-clear-key": (lambda c, s: s["users"][0].update(key_hash="rmp_" + "a" * 43), "'key_hash' must be"),
    "key-twice": (lambda c, s: s["users"][0].update(key_hash=s["users"][1]["key_hash"]), "same 'key_hash'"),
    "user-field": (lambda c, s: s["users"][0].update(admin=True), "unknown key 'admin'"),
    "user-type": (lambda c, s: s["users"].append("alice"), "users[2] must be an object"),
    "user-limit": (lambda c, s: s["users"][0].update(per_hour=0), "'per_hour' must be from 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration_is_one_clear_error(tmp_path: Path, name: str) -> None:
    change, expected = BAD[name]
    config, secrets = config_of(tmp_path), secrets_of()
    change(config, secrets)
    write_files(tmp_path, config, secrets)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert HASH_KEY.hex() not in message
    assert "rmp_" not in message


def test_defaults_are_the_guide_s(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    del config["limits"]
    write_files(tmp_path, config, secrets_of())
    loaded, _rest = load(tmp_path)
    assert (loaded.limits.per_hour, loaded.limits.per_day, loaded.limits.suspension_seconds) == (20, 100, 3600)
    assert loaded.max_prompt_chars == 5000


def check(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rampart_gateway", "--check-config", str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_check_config_says_valid_and_opens_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, config_of(tmp_path), secrets_of())
    result = check(tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (
        0, "configuration valid: 1 model(s), 2 user(s)\n", ""
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "secrets.json"]


@pytest.mark.parametrize("damage", ["missing", "syntax", "duplicate", "not-utf8", "world-readable", "wrong"])
def test_check_config_ends_with_one_line_and_status_2(tmp_path: Path, damage: str) -> None:
    write_files(tmp_path, config_of(tmp_path), secrets_of())
    if damage == "missing":
        (tmp_path / "secrets.json").unlink()
    elif damage == "world-readable":
        (tmp_path / "secrets.json").chmod(0o644)
    else:
        text = {"syntax": b"{", "duplicate": b'{"version":1,"version":1}', "not-utf8": b"\xff", "wrong": b"[]"}[damage]
        (tmp_path / "config.json").write_bytes(text)
    result = check(tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("GW-CONFIG-INVALID: ")
    assert result.stderr.count("\n") == 1


# --- prompts shipped for the role


@pytest.mark.row("P2")
@pytest.mark.parametrize(
    ("language", "refusal"),
    [
        ("fr", '"Je ne peux pas traiter cette requ\u00eate pour des raisons de s\u00e9curit\u00e9."'),
        ("en", '"I cannot process this request for security reasons."'),
    ],
)
def test_shipped_prompt_has_five_rules_a_company_and_the_refusal(language: str, refusal: str, tmp_path: Path) -> None:
    template = (PROMPTS / f"system_prompt.{language}.txt").read_text("utf-8")
    assert template.count("{company}") == 1
    assert [line[:2] for line in template.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3.", "4.", "5."]
    assert refusal in template
    config = config_of(tmp_path, system_prompt=template.replace("{company}", "Test SARL"))
    write_files(tmp_path, config, secrets_of())
    assert "Test SARL" in load(tmp_path)[0].system_prompt


# --- sockets


def test_socket_is_0660_whatever_the_umask_and_takes_the_directory_s_group(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, 12345) if os.geteuid() == 0 else None
    tmp_path.chmod(0o2750)
    mask = os.umask(0)
    try:
        listener = listen(tmp_path / "x.sock")
    finally:
        os.umask(mask)
    found = (tmp_path / "x.sock").stat()
    listener.close()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == tmp_path.stat().st_gid


def test_stale_socket_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    live = listen(path)
    with pytest.raises(StartError, match="another process serves"):
        listen(path)
    live.close()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StartError, match="not a socket"):
        listen(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(StartError, match="Check the directory"):
        listen(tmp_path / "none" / "x.sock")


# --- the process


def start_process(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rampart_gateway", "--config-dir", str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.row("P9")
def test_process_serves_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    write_files(tmp_path, config_of(tmp_path), secrets_of())
    process = start_process(tmp_path)
    try:
        client = socket.socket(socket.AF_UNIX)
        for _nr in range(200):
            try:
                client.connect(str(tmp_path / "gateway.sock"))
                break
            except OSError:
                time.sleep(0.05)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")
    assert not list(tmp_path.glob("*.sock"))


@pytest.mark.row("P9")
@pytest.mark.parametrize("fault", ["audit", "socket"])
def test_process_that_cannot_start_says_why_in_one_line(tmp_path: Path, fault: str) -> None:
    change = {"audit": {"audit_log": "/dev/null"}, "socket": {"socket": str(tmp_path / "none" / "x.sock")}}[fault]
    write_files(tmp_path, config_of(tmp_path, **change), secrets_of())
    process = start_process(tmp_path)
    _rest, errors = process.communicate(timeout=20)
    assert process.returncode == 3
    assert errors.startswith("GW-START-FAILED: ")
    assert errors.count("\n") == 1
    assert json.loads((tmp_path / "config.json").read_text())["version"] == 1
