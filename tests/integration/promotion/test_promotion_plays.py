# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S9, T2: the plays as people run them, from the first key to prod, the offline officer included."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, signing_keys, trust
from promotion_rig import DAY, hexes
from promotion_site import HOSTS, PASSPHRASE, Site

pytestmark = [pytest.mark.row("S9"), pytest.mark.row("T2"), pytest.mark.slow]

CHECK_PLAY = """
- hosts: ollama_hosts
  gather_facts: false
  roles: [rampart.ollama.promotion]
  post_tasks:
    - ansible.builtin.debug: {msg: "{{ promotion_checks | map(attribute='status') | join(' and ') }}"}
"""


def make(site: Site, environment: str, role: str, holder: str) -> str:
    site.passes(
        "rampart.ollama.make_keys", environment, "-e", f"promotion_key_role={role} promotion_key_holder={holder}"
    )
    path = site.home / f".config/rampart/keys/{environment}-{role}.pem"
    return attestation.keyid_of(signing_keys.load_private(path, PASSPHRASE).public_key())


def staff(site: Site) -> None:
    make(site, "dev", "evidence", "alice@example.org")
    make(site, "staging", "evidence", "alan@example.org")
    make(site, "staging", "reviewer", "bob@example.org")


def openssl(directory: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=directory, check=True, capture_output=True)


def snapshot(root: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file() and "tmp" not in path.parts and ".ansible" not in path.parts
    }


def test_from_the_first_key_to_prod(site: Site) -> None:
    staff(site)
    reviewer = ("-e", "promotion_key_role=reviewer")
    to_staging = ("-e", "target_environment=staging", "-e", f"promotion_envelope={site.envelope('dev')}")
    to_prod = ("-e", "target_environment=prod", "-e", f"promotion_envelope={site.envelope('staging')}")
    play = site.root / "check.yml"
    play.write_text(CHECK_PLAY, encoding="utf-8")

    # dev: tested, signed, reviewed.
    site.run("dev", HOSTS)
    told = site.passes("rampart.ollama.sign_evidence", "dev")
    assert "alice@example.org" in told and hexes("c") in told
    assert "unknown and unknown" in site.passes(str(play), "dev")
    before = snapshot(site.root)
    assert "changed=0" in site.passes("rampart.ollama.sign_evidence", "dev")
    site.refused("PROMOTION-UNAPPROVED", "rampart.ollama.promote", "staging", *to_staging)
    site.refused("PROMOTION-MISSING", str(play), "staging")
    assert snapshot(site.root) == before
    site.passes("rampart.ollama.countersign", "staging", *reviewer, *to_staging[2:])
    assert "changed=1" in site.passes("rampart.ollama.promote", "staging", *to_staging, "--check")
    assert site.promoted("staging") == []
    site.passes("rampart.ollama.promote", "staging", *to_staging)
    assert "changed=0" in site.passes("rampart.ollama.promote", "staging", *to_staging)
    assert len(site.promoted("staging")) == 1
    assert "passed and passed" in site.passes(str(play), "staging")

    # staging: installed by that promotion, audited, signed; it carries dev's envelope.
    site.run("staging", HOSTS)
    site.passes("rampart.ollama.sign_evidence", "staging")
    carried = json.loads(attestation.read_envelope(site.envelope("staging")).payload)["predicate"]["promotion"]
    assert carried == json.loads(site.promoted("staging")[0].read_text(encoding="utf-8"))
    site.refused("PROMOTION-UNAPPROVED", "rampart.ollama.promote", "prod", *to_prod)

    # The officer has a machine with openssl, and a stick that is carried.
    stick, offline = site.root / "stick", site.root / "offline"
    stick.mkdir()
    offline.mkdir(mode=0o700)
    secret = "-pass pass:the-officer-alone-knows"
    openssl(offline, f"genpkey -algorithm ed25519 -aes256 {secret} -out officer.pem")
    openssl(offline, f"pkey -in officer.pem -passin {secret.split()[1]} -pubout -out {stick}/officer.pub")
    trusted = f"promotion_key_public={stick}/officer.pub promotion_key_role=security_officer"
    told = site.passes("rampart.ollama.make_keys", "prod", "-e", f"{trusted} promotion_key_holder=carol@example.org")
    officer = signing_keys.parse_public((stick / "officer.pub").read_text(encoding="ascii"), "officer.pub")
    keyid = attestation.keyid_of(officer)
    assert keyid in told
    envelope = ("-e", f"promotion_envelope={site.envelope('staging')}")
    site.passes("rampart.ollama.countersign", "prod", *envelope, "-e", f"promotion_pae={stick}/evidence.pae")
    assert b'"environment": "staging"' in (stick / "evidence.pae").read_bytes()
    signing = f"pkeyutl -sign -inkey officer.pem -passin {secret.split()[1]} -rawin"
    openssl(offline, f"{signing} -in {stick}/evidence.pae -out {stick}/sig")
    attach = f"promotion_signature={stick}/sig promotion_keyid={keyid}"
    site.passes("rampart.ollama.countersign", "prod", *envelope, "-e", attach)
    site.passes("rampart.ollama.promote", "prod", *to_prod)
    assert "passed and passed" in site.passes(str(play), "prod")

    # One changed byte of what is installed, or of the promotion, and prod is closed again.
    site.images.write_text(site.images.read_text(encoding="utf-8").replace(hexes("4"), hexes("9")), encoding="utf-8")
    site.refused("PROMOTION-DIGEST", str(play), "prod")
    site.images.write_text(site.images.read_text(encoding="utf-8").replace(hexes("9"), hexes("4")), encoding="utf-8")
    record = site.promoted("prod")[0]
    text = record.read_text(encoding="utf-8")
    place = text.index('"payload": "') + 4000
    record.write_text(text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :], encoding="utf-8")
    site.refused("ATTESTATION-SIGNATURE-INVALID", str(play), "prod")
    record.write_text(text, encoding="utf-8")
    document = yaml.safe_load(site.trusted_keys.read_text(encoding="utf-8"))
    for entry in document["keys"]:
        if entry["keyid"] == keyid:
            entry.update(revoked_at=trust.format_time(site.now), revoked_reason="token lost")
    site.trusted_keys.write_text(yaml.safe_dump(document), encoding="utf-8")
    site.refused("ATTESTATION-KEY-REVOKED", str(play), "prod")


def test_promotion_goes_one_way(site: Site) -> None:
    staff(site)
    site.run("dev", HOSTS)
    site.passes("rampart.ollama.sign_evidence", "dev")
    envelope = ("-e", f"promotion_envelope={site.envelope('dev')}")
    site.passes("rampart.ollama.countersign", "staging", *envelope, "-e", "promotion_key_role=reviewer")
    promote = "rampart.ollama.promote"
    site.refused("PROMOTION-BACKWARD", promote, "dev", *envelope, "-e", "target_environment=dev")
    site.refused("PROMOTION-INVENTORY", promote, "dev", *envelope, "-e", "target_environment=staging")
    site.refused("PROMOTION-TARGET", promote, "staging", *envelope)
    site.refused("PROMOTION-ENVIRONMENT", promote, "prod", *envelope, "-e", "target_environment=prod")
    site.run("dev", HOSTS, at=site.now - 20 * DAY)
    site.passes("rampart.ollama.sign_evidence", "dev")
    site.passes("rampart.ollama.countersign", "staging", *envelope, "-e", "promotion_key_role=reviewer")
    site.refused("PROMOTION-STALE", promote, "staging", *envelope, "-e", "target_environment=staging")
    assert not site.promotions.exists()


def test_keys_are_made_once_and_where_they_stay(site: Site) -> None:
    make_keys = "rampart.ollama.make_keys"
    who = ("-e", "promotion_key_holder=alice@example.org")
    assert "changed=1" in site.passes(make_keys, "dev", *who, "--check")
    assert not site.trusted_keys.exists() and not (site.home / ".config").exists()
    site.refused("ATTESTATION-HOLDER", make_keys, "dev")
    site.refused("TRUST-INVALID", make_keys, "dev", "-e", "promotion_key_holder=everybody")
    assert not (site.home / ".config").exists()
    site.passes(make_keys, "dev", *who)
    key = site.home / ".config/rampart/keys/dev-evidence.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    before = snapshot(site.root)
    site.refused("ATTESTATION-KEY-EXISTS", make_keys, "dev", *who)
    assert snapshot(site.root) == before
    # The public half alone, again: nothing to do.
    again = site.passes(make_keys, "dev", *who, "-e", f"promotion_key_public={key}.pub")
    assert "changed=0" in again
    # The controller that is reached over the network is not the controller.
    remote = {"all": {"hosts": {"localhost": {"ansible_connection": "ssh", "ansible_host": "h1.invalid"}}}}
    site.dump(site.inventory("dev") / "remote.yml", remote)
    other = ("-e", f"promotion_key={site.root}/other.pem")
    site.refused("ATTESTATION-NOT-LOCAL", make_keys, "dev", *who, *other)
    assert not (site.root / "other.pem").exists()


def test_the_passphrase_is_typed_or_vaulted_and_never_shown(site: Site) -> None:
    make_keys = "rampart.ollama.make_keys"
    who = ("-e", "promotion_key_holder=alice@example.org")
    status, output = site.typed(make_keys, "dev", [PASSPHRASE, "seven-wet-lemons-agree"], *who)
    assert status != 0 and "the two answers differ" in output
    assert not site.trusted_keys.exists()
    status, output = site.typed(make_keys, "dev", [PASSPHRASE, PASSPHRASE], *who, "-vvvv")
    assert status == 0, output
    assert PASSPHRASE not in output
    key = site.home / ".config/rampart/keys/dev-evidence.pem"
    assert signing_keys.load_private(key, PASSPHRASE)

    # From ansible-vault, as loud as it can be (`play` looks for the passphrase in everything that was printed).
    (site.root / "vault_password").write_text("opens the vault", encoding="utf-8")
    vault = Path(site.command("", "dev")[0][0]).with_name("ansible-vault")
    encrypt = [str(vault), "encrypt", "--vault-password-file", "vault_password", str(site.vault)]
    subprocess.run(encrypt, cwd=site.root, check=True, capture_output=True)
    assert PASSPHRASE not in site.vault.read_text(encoding="utf-8")
    site.run("dev", HOSTS)
    site.passes("rampart.ollama.sign_evidence", "dev", "--vault-password-file", "vault_password", "-vvvv", "--diff")

    # On the command line every user of the machine could read it: refused, and a play without a terminal asks nobody.
    secret = "another-secret-in-argv"
    done = site.play(make_keys, "prod", *who, "-e", f"promotion_passphrase={secret}", vault=False)
    assert done.returncode != 0 and "ATTESTATION-PASSPHRASE-ARGV" in done.stdout + done.stderr
    done = site.play(make_keys, "prod", *who, vault=False)
    assert done.returncode != 0 and "ATTESTATION-PASSPHRASE: nobody typed one" in done.stdout + done.stderr
    assert sorted(path.name for path in key.parent.iterdir()) == [key.name, f"{key.name}.pub"]


def test_what_is_not_evidence_is_not_signed(site: Site) -> None:
    staff(site)
    sign = "rampart.ollama.sign_evidence"
    site.refused("EVIDENCE-MISSING", sign, "dev")
    site.run("dev", HOSTS)
    site.write("dev", HOSTS[1], 3, collection_digest=None)
    site.refused("EVIDENCE-UNBOUND", sign, "dev")
    site.run("dev", HOSTS)
    wrong_key = ("-e", f"promotion_key={site.home}/.config/rampart/keys/staging-evidence.pem")
    site.refused("ATTESTATION-ROLE", sign, "dev", *wrong_key)
    assert not site.envelope("dev").exists()
    # Staging that was installed without a promotion signs nothing that could reach prod.
    site.run("staging", HOSTS)
    site.refused("PROMOTION-MISSING", sign, "staging")
    assert not site.envelope("staging").exists()


def test_without_images_a_prediction_says_so_and_a_run_is_refused(site: Site) -> None:
    play = site.root / "check.yml"
    play.write_text(CHECK_PLAY, encoding="utf-8")
    make(site, "staging", "evidence", "alan@example.org")
    site.images.unlink()
    assert "unknown and unknown" in site.passes(str(play), "staging", "--check")
    site.refused("IMAGES-NOT-BUILT", str(play), "staging")
    # Switched off in prod, it is not passed either: the control that needs it fails the phase.
    assert "unknown and unknown" in site.passes(str(play), "prod", "-e", '{"promotion_required": false}')
