# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a chat template or another text of a model: reviewed by its digest, or searched for red flags (rows S3, S4).

A template that a person has reviewed is named in the policy by the sha256 of its bytes, and is then let pass as it is.
Every other one is searched, and its digest is told, so that it can be reviewed.
"""

from __future__ import annotations

from collections.abc import Iterable

from .findings import Severity
from .gguf_cursor import Noted
from .gguf_gotemplate import go_flags, go_texts
from .gguf_jinja import jinja_flags, texts
from .gguf_jinja_cut import cut
from .gguf_policy import Policy
from .gguf_text import Flag, flags

REVIEW = (
    "Read it. If it is what its publisher says, list its digest under `reviewed` in the policy; otherwise do not use "
    "this model."
)
# What is judged of all templates of one file together, in bytes.
JUDGED_BYTES = 128 * 1024


def judge_template(data: bytes, digest: str, kind: str, what: str, policy: Policy, noted: Noted) -> None:
    """Record the red flags of a template: `kind` is "jinja" or "go", `what` names it in evidence."""
    if digest in policy.reviewed:
        return
    unlisted = "{0} is {1}, which the policy does not list".format(what, digest)
    noted.add("TEMPLATE-UNLISTED", policy.unlisted_template, unlisted, REVIEW)
    if len(data) > policy.template_bytes:
        evidence = "{0} has more than {1} bytes".format(what, policy.template_bytes)
        noted.add("TEMPLATE-SIZE", Severity.HIGH, evidence, REVIEW)
        data = data[: policy.template_bytes]
    text = _decode(data, "TEMPLATE", what, noted)
    if kind == "go":
        found: list[Flag] = [*go_flags(text), *flags(go_texts(text), policy.url_hosts)]
    else:
        template = cut(text)
        found = [*jinja_flags(template), *flags(texts(template), policy.url_hosts)]
        # A comment reaches no prompt, but what is hidden in one was hidden from the reader.
        found += [flag for flag in flags(text) if flag.topic == "HIDDEN" and flag not in found]
    _record("TEMPLATE", found, what, noted)


def judge_text(data: bytes, digest: str, what: str, policy: Policy, noted: Noted) -> None:
    """Record the red flags of a text that becomes part of every prompt: a system prompt, a message."""
    if digest in policy.reviewed:
        return
    if len(data) > policy.text_bytes:
        evidence = "{0} has more than {1} bytes".format(what, policy.text_bytes)
        noted.add("LAYER-SIZE", Severity.HIGH, evidence, REVIEW)
        data = data[: policy.text_bytes]
    _record("LAYER", flags(_decode(data, "LAYER", what, noted), policy.url_hosts), what, noted)


def _decode(data: bytes, prefix: str, what: str, noted: Noted) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        noted.add(prefix + "-ENCODING", Severity.MEDIUM, "{0} is not UTF-8".format(what), REVIEW)
        return data.decode("utf-8", "replace")


def _record(prefix: str, found: Iterable[Flag], what: str, noted: Noted) -> None:
    for flag in found:
        noted.add("{0}-{1}".format(prefix, flag.topic), flag.severity, "{0}: {1}".format(what, flag.evidence), REVIEW)
