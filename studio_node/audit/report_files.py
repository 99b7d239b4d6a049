"""An audit's two files: a signed document for machines that names the page for people, and the check of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.documents import (
    DOCUMENT_BYTES_MAX,
    PrivateKey,
    PublicKey,
    SignedDocument,
    canonical_json,
    digest,
    sign,
)
from federation.durable import read_bounded, write_atomic
from federation.errors import SignatureError
from studio_node.audit.report import AuditReport
from studio_node.audit.report_parts import report_page

AUDIT_KIND = "audit-report"
JSON_NAME, PAGE_NAME = "audit.json", "audit.html"
PAGE_BYTES_MAX = 64 << 20


@dataclass(frozen=True)
class AuditFiles:
    """Where a report was written, and whether its JSON is signed."""

    document: Path
    page: Path
    signed: bool


def write_report(report: AuditReport, output: Path, key: PrivateKey | None) -> AuditFiles:
    """Write ``audit.html`` and ``audit.json``, which holds the page's hash and is signed if there is a key.

    Raises:
        FedrotoError: the disk refused.
    """
    output.mkdir(parents=True, exist_ok=True)
    html = report_page(report).encode()
    payload = report.payload() | {"page_sha256": digest(html)}
    data = canonical_json(payload) if key is None else sign(AUDIT_KIND, payload, key).to_bytes()
    write_atomic(output / PAGE_NAME, html)
    write_atomic(output / JSON_NAME, data)
    return AuditFiles(output / JSON_NAME, output / PAGE_NAME, key is not None)


def check_report(folder: Path, key: PublicKey) -> dict[str, Any]:
    """Return a report's fields once its signature holds and the page beside it is the one that was signed for.

    Args:
        folder: with both files.
        key: the studio's public node key.

    Raises:
        SignatureError: not signed by this key, or the page was changed.
        DocumentError: malformed.
        FedrotoError: a file cannot be read.
    """
    signed = SignedDocument.from_bytes(read_bounded(folder / JSON_NAME, DOCUMENT_BYTES_MAX))
    fields = signed.verified(AUDIT_KIND, key)
    found = digest(read_bounded(folder / PAGE_NAME, PAGE_BYTES_MAX))
    if found != fields.get("page_sha256"):
        raise SignatureError(
            f"{folder / PAGE_NAME} is not the page that the report was signed with (its SHA-256 is {found[:16]})",
            hint="ask the studio for both files again",
        )
    return fields
