# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of signed evidence and of promotions says in the same words."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments: `attestation` for what writes signed files, `.READING` for what only looks, `.TRUST` for who may
    sign, `.PROMOTED` for what a target is about to get.
    """

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: In check mode everything is looked at and nothing is written.
  diff_mode:
    support: none
    description: What is written is signed, not edited.
  idempotent:
    support: full
    description: The same evidence, envelope and key give the same file.
requirements:
  - cryptography
  - securesystemslib
"""

    READING = r"""
attributes:
  check_mode:
    support: full
    description: Only looks.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Never reports a change.
requirements:
  - cryptography
  - securesystemslib
"""

    TRUST = r"""
options:
  trusted_keys:
    description: The file of trusted keys. Only who is in it may sign.
    type: path
    required: true
"""

    PROMOTED = r"""
options:
  models:
    description: The models, as references or as names of the approvals file.
    type: list
    elements: str
    required: true
  approvals:
    description: The approvals file of the environment.
    type: path
    required: true
  images:
    description: The file C(images.json) beside the archive of the images.
    type: path
    required: true
  directory:
    description: Directory of the promotions; each environment has a directory in it.
    type: path
    required: true
  catalogue:
    description: Path of another control catalogue than the collection's own.
    type: path
"""
