# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every refusal the gateway can give: one code, one status, one sentence in each language.

A refusal never quotes what the user sent except a shortened field name, and never what the model server said:
error texts of the server name paths and addresses of the host.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

ErrorStyle = Literal["native", "openai"]


@dataclass(frozen=True)
class Code:
    """A finding code as the caller sees it.

    ``reason`` is the suffix of the audit record's action and the label of the blocked-requests metric;
    ``action`` is BLOCKED when the gateway said no, FAILED when it could not serve an allowed request.
    """

    name: str
    status: int
    reason: str
    fr: str
    en: str
    action: Literal["BLOCKED", "FAILED"] = "BLOCKED"
    openai_type: str = "invalid_request_error"


def _table(*codes: Code) -> dict[str, Code]:
    return {code.name: code for code in codes}


CODES = _table(
    Code("GW-UNAUTHENTICATED", 401, "UNAUTHENTICATED",
         "Clé d'API absente ou inconnue. Envoyez 'Authorization: Bearer <votre clé>'.",
         "Missing or unknown API key. Send 'Authorization: Bearer <your key>'.",
         openai_type="authentication_error"),
    Code("GW-ROUTE-REFUSED", 403, "ROUTE",
         "Cette route ou cette méthode n'est pas ouverte. Voyez la liste des routes dans la documentation.",
         "This route or method is not open. See the list of routes in the documentation.",
         openai_type="permission_error"),
    Code("GW-FIELD-REFUSED", 400, "FIELD",
         "Champ refusé : {detail}. Retirez ou corrigez ce champ.",
         "Refused field: {detail}. Remove or correct this field."),
    Code("GW-CONTROL-TOKEN", 400, "CONTROL_TOKEN",
         "Le texte contient une balise de contrôle du modèle ({detail}). Retirez-la.",
         "The text contains a control token of the model ({detail}). Remove it."),
    Code("GW-BAD-JSON", 400, "BAD_JSON",
         "Le corps n'est pas un objet JSON valide ({detail}). Corrigez-le.",
         "The body is not a valid JSON object ({detail}). Correct it."),
    Code("GW-BODY-TOO-LARGE", 413, "BODY_TOO_LARGE",
         "Le corps de la requête dépasse {detail} octets. Réduisez-le.",
         "The request body is over {detail} bytes. Shorten it."),
    Code("GW-BODY-TIMEOUT", 408, "BODY_TIMEOUT",
         "Le corps de la requête n'est pas arrivé à temps. Renvoyez-le.",
         "The request body did not arrive in time. Send it again."),
    Code("GW-MODEL-REFUSED", 403, "MODEL",
         "Ce modèle n'est pas approuvé. Demandez la liste par GET /api/tags.",
         "This model is not approved. Ask for the list with GET /api/tags.",
         openai_type="permission_error"),
    Code("GW-PROMPT-TOO-LONG", 413, "PROMPT_TOO_LONG",
         "Le texte dépasse {detail} caractères. Raccourcissez-le.",
         "The text is over {detail} characters. Shorten it."),
    Code("GW-RATE-LIMIT", 429, "RATE_LIMIT",
         "Trop de requêtes : compte suspendu. Réessayez dans {detail} secondes.",
         "Too many requests: account suspended. Try again in {detail} seconds.",
         openai_type="rate_limit_error"),
    Code("GW-OVERLOADED", 503, "OVERLOADED",
         "Trop de requêtes en cours. Réessayez dans quelques secondes.",
         "Too many requests at the same time. Try again in a few seconds.",
         openai_type="server_error"),
    Code("GW-AUDIT-DOWN", 503, "AUDIT_DOWN",
         "Le journal d'audit ne peut pas être écrit : rien n'est servi. Prévenez l'exploitant.",
         "The audit log cannot be written: nothing is served. Tell the operator.",
         action="FAILED", openai_type="server_error"),
    Code("GW-UPSTREAM-DOWN", 502, "UPSTREAM_DOWN",
         "Le serveur de modèles ne répond pas. Réessayez, puis prévenez l'exploitant.",
         "The model server does not answer. Try again, then tell the operator.",
         action="FAILED", openai_type="server_error"),
    Code("GW-UPSTREAM-ERROR", 502, "UPSTREAM_ERROR",
         "Le serveur de modèles a répondu par une erreur. Réessayez, puis prévenez l'exploitant.",
         "The model server answered with an error. Try again, then tell the operator.",
         action="FAILED", openai_type="server_error"),
    Code("GW-UPSTREAM-TIMEOUT", 504, "UPSTREAM_TIMEOUT",
         "La réponse a pris trop de temps. Réduisez la demande ou réessayez.",
         "The answer took too long. Ask for less, or try again.",
         action="FAILED", openai_type="server_error"),
    Code("GW-CLIENT-GONE", 499, "CLIENT_GONE",
         "Le client a fermé la connexion.", "The client closed the connection.",
         action="FAILED", openai_type="server_error"),
    Code("GW-INTERNAL", 500, "INTERNAL",
         "Erreur interne : rien n'a été servi. Prévenez l'exploitant.",
         "Internal error: nothing was served. Tell the operator.",
         action="FAILED", openai_type="server_error"),
)  # fmt: skip


class RefusalError(Exception):
    """A request ends here. Carries the code, a short detail and, for 429 and 503, seconds to wait."""

    def __init__(
        self, name: str, detail: str = "", *, status: int | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(name)
        self.code = CODES[name]
        self.detail = detail
        self.status = status or self.code.status
        self.retry_after = retry_after

    def messages(self, languages: Sequence[str]) -> dict[str, str]:
        """The sentence in each configured language, in their order."""
        texts = {"fr": self.code.fr, "en": self.code.en}
        return {language: texts[language].replace("{detail}", self.detail) for language in languages}

    def body(self, style: ErrorStyle, languages: Sequence[str]) -> bytes:
        """The JSON body: bilingual for the native API, in OpenAI's shape for /v1."""
        messages = self.messages(languages)
        error: dict[str, Any]
        if style == "openai":
            text = f"{self.code.name}: {' / '.join(messages.values())}"
            error = {"message": text, "type": self.code.openai_type, "param": None, "code": self.code.name}
        else:
            error = {"code": self.code.name, "message": messages}
        return orjson.dumps({"error": error})


def complain(line: str) -> None:
    """A line for the operator on standard error; the container's log may lie on the very disk that is full."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def shown(name: object) -> str:
    """A field name made fit to be echoed: printable ASCII, at most 40 characters."""
    return ascii(str(name)[:40]).strip("'\"")
