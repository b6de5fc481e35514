# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look-up `rampart.ollama.model_tag`: what a model's tag names at its registry now."""

from __future__ import annotations

DOCUMENTATION = r"""
name: model_tag
author: Rampart contributors (@rampart)
short_description: What a model's tag names at its registry now
version_added: 0.2.0
description:
  - Asks the registry for the manifest of a tag, from the controller, and pulls no blob.
  - The digest is the sha256 of the manifest's very bytes, which is the model's digest in Ollama and in an approval.
  - Only allowed sources are asked, over verified TLS, through the proxy that the environment names. The answer is
    bounded in time and in size, and parsed strictly.
  - Given an approval instead of a name, says whether the tag has moved since (C(APPROVAL-TAG-MOVED)). Hosts keep the
    approved bytes either way.
options:
  _terms:
    description: Names as C([host/][namespace/]model[:tag]), or entries of C(models_registry.yaml).
    type: list
    elements: raw
    required: true
  sources:
    description: Sources that may be asked, as C(host/namespace/) or C(host/).
    type: list
    elements: str
    default: [registry.ollama.ai/library/]
  redirect_hosts:
    description: Further hosts that a registry may redirect the question to.
    type: list
    elements: str
    default: []
  ca_bundle:
    description: PEM file with the certificate authorities to trust instead of the system's.
    type: path
  proxy:
    description:
      - The HTTP proxy, as C(http://[user:password@]host:port). An empty text goes directly.
      - Without it, E(HTTPS_PROXY) and E(NO_PROXY) of the controller count.
    type: str
  timeout:
    description: Seconds that one answer may take altogether.
    type: float
    default: 30
  wantdict:
    description: Return a dictionary for each term instead of the digest alone.
    type: bool
    default: false
  on_error:
    description:
      - V(fail) ends the look-up with the finding of the first term that could not be asked.
      - V(report) puts the finding into the term's dictionary, for a play that asks about many. Needs O(wantdict).
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: rampart.ollama.ollama_model_approval
"""

EXAMPLES = r"""
- name: Show which bytes a tag names today
  ansible.builtin.debug:
    msg: "{{ lookup('rampart.ollama.model_tag', 'mistral:7b-instruct-v0.3-q4_K_M') }}"

- name: Say whether an approved tag has moved
  ansible.builtin.debug:
    msg: "{{ tag.findings | map(attribute='evidence') | join }}"
  when: tag.moved
  vars:
    tag: "{{ lookup('rampart.ollama.model_tag', approval, wantdict=true) }}"
"""

RETURN = r"""
_raw:
  description:
    - For each term the digest, or with O(wantdict) a dictionary.
    - C(moved) is null for a name alone, and where the registry could not be asked.
  type: list
  elements: raw
  sample:
    - reference: registry.ollama.ai/library/smollm2:135m-instruct-q4_1
      digest: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      size: 98363007
      blobs:
        - digest: sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
          size: 98362432
          media_type: application/vnd.ollama.image.model
      approved: sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8
      moved: false
      findings: []
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text
from ansible_collections.rampart.ollama.plugins.plugin_utils import registry_tag


class LookupModule(LookupBase):
    """Ansible's way of finding the look-up."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return the digest or the dictionary of each term. Raises AnsibleLookupError with a finding's text."""
        self.set_options(var_options=variables, direct=kwargs)
        report = self.get_option("on_error") == "report"
        if report and not self.get_option("wantdict"):
            raise AnsibleLookupError("model_tag: on_error=report needs wantdict=true, or a failure would be no text")
        answers = []
        for term in terms:
            try:
                answers.append(self._ask(term))
            except FindingError as error:
                if not report:
                    raise AnsibleLookupError(str(error)) from error
                answers.append(_answer(term, findings=[error.finding.as_dict()]))
        return answers if self.get_option("wantdict") else [answer["digest"] for answer in answers]

    def _ask(self, term: Any) -> dict[str, Any]:
        found = registry_tag.fetch_manifest(
            _reference(term),
            self.get_option("sources"),
            ca_bundle=self.get_option("ca_bundle"),
            proxy=self.get_option("proxy"),
            timeout=self.get_option("timeout"),
            redirect_hosts=self.get_option("redirect_hosts"),
        )
        finding = registry_tag.moved(term, found.digest) if isinstance(term, Mapping) else None
        return _answer(
            term,
            digest=found.digest,
            size=found.manifest.size,
            blobs=[blob.as_dict() for blob in found.manifest.blobs.values()],
            moved=finding is not None if isinstance(term, Mapping) else None,
            findings=[finding.as_dict()] if finding else [],
        )


def _reference(term: Any) -> Any:
    return term.get("reference") if isinstance(term, Mapping) else term


def _answer(term: Any, **told: Any) -> dict[str, Any]:
    """Return the dictionary of a term; what is not told is empty."""
    approved = term.get("digest") if isinstance(term, Mapping) else None
    return {
        "reference": clean_text(_reference(term) or ""),
        "digest": "",
        "size": None,
        "blobs": [],
        "approved": approved,
        "moved": None,
        **told,
    }
