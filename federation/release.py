"""The rules by which a release is trusted. Nothing here touches a disk, a network or a key.

A release is a folder named after its number (``0001``) with exactly these files:

    weights.safetensors   every tensor of the model, trained and frozen
    README.md             the model card
    benchmark.json        the release check: every gate with its numbers
    manifest.json         what the release says of itself (``federation.release_manifest``)
    model.sig             the signature over the four others (OpenSSF Model Signing, ``federation.signing``)

Rules, in the order in which they are applied:
    1. The folder holds exactly the five files, each a plain file within its size limit. (Model Signing itself
       overlooks added files such as ``.gitattributes``.)
    2. The signature holds for the release key that the reader already has. Whatever is read before that is only used
       to bound a download.
    3. The manifest is of a known schema and does not contradict itself: a base has neither parent, campaign nor
       privacy figures, a trained release has all of them, and its parent is older.
    4. The other files have the sizes and hashes that the manifest says.
    5. The manifest's number is the folder's, its federation the reader's.
    6. Weights without a privacy guarantee (``not_private``) are never published and never taken in.
    7. Numbers only go up: a reader refuses a release older than the newest that it has ever seen, and another
       release under a number that it has seen. Only a person can go back, and only behind withdrawn releases.
    8. The coordinator's log of releases (``federation.release_log``) only grows, names every release that is handed
       out, and what it says is withdrawn is neither taken in nor used.

The remaining steps (hashing files, verifying signatures, remembering the newest) are in ``federation.release_folder``
and ``federation.release_client``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from federation.errors import ReleaseError
from federation.release_log import LogEntry, ReleaseLog
from federation.release_manifest import BYTES_MAX, FileEntry, NewestSeen, ReleaseManifest


def folder_name(number: int) -> str:
    """Return a release's folder name: 1 is ``0001``."""
    return f"{number:04d}"


def number_of_folder(name: str) -> int | None:
    """Return the number that a folder name stands for, or None if it is no release's."""
    if not re.fullmatch(r"[0-9]{4,6}", name):
        return None
    number = int(name)
    return number if number >= 1 and folder_name(number) == name else None


def check_names(names: Collection[str]) -> None:
    """Apply rule 1 to a folder's entries.

    Raises:
        ReleaseError: a file is missing, or one is there that does not belong.
    """
    missing, added = sorted(set(BYTES_MAX) - set(names)), sorted(set(names) - set(BYTES_MAX))
    if missing or added:
        raise ReleaseError(
            f"a release holds exactly {', '.join(BYTES_MAX)}; missing: {', '.join(missing) or 'none'}, "
            f"does not belong: {', '.join(added) or 'none'}"
        )


def check_contents(manifest: ReleaseManifest, found: Mapping[str, FileEntry]) -> None:
    """Apply rule 4: sizes and hashes that were measured against those that the manifest says.

    Raises:
        ReleaseError: names the first file that differs.
    """
    for name, entry in manifest.files.items():
        if found.get(name) != entry:
            raise ReleaseError(
                f"{name} of release {manifest.number} is not the file that its manifest names (hash differs)"
            )


def check_identity(manifest: ReleaseManifest, *, number: int, federation: str | None) -> None:
    """Apply rules 5 and 6.

    Args:
        manifest: of the release.
        number: that the release was asked for by, or that its folder names.
        federation: the reader's; None where the reader's release key alone decides.

    Raises:
        ReleaseError: another number or federation, or weights without a privacy guarantee.
    """
    if manifest.number != number:
        raise ReleaseError(f"release {number} says that it is release {manifest.number}")
    if federation is not None and manifest.federation != federation:
        raise ReleaseError(
            f"release {number} is of federation {manifest.federation!r}, expected {federation!r}"
        )
    if manifest.not_private:
        raise ReleaseError(
            f"release {number} was trained without noise (NOT PRIVATE); it never leaves a simulation"
        )


def check_log(log: ReleaseLog, *, held: ReleaseLog | None, federation: str | None) -> None:
    """Apply rule 8 to a log that the coordinator shows, against the one that it showed before.

    Raises:
        ReleaseError: it is another federation's, or leaves out or changes what was said before.
    """
    if federation is not None and log.federation != federation:
        raise ReleaseError(
            f"the log of releases is of federation {log.federation!r}, expected {federation!r}"
        )
    if held is not None and not log.extends(held):
        raise ReleaseError(
            f"the coordinator's log of releases, {len(log.entries)} entries with head {log.head[:12]}, does not "
            f"go on from the one that was here before, {len(held.entries)} entries with head {held.head[:12]}",
            hint="compare both heads with the coordinator by phone: a log that changes may hide a withdrawal",
        )


def check_standing(manifest: ReleaseManifest, log: ReleaseLog | None, *, announced: bool) -> None:
    """Apply rule 8 to a release.

    Args:
        manifest: of the release.
        log: the newest one that the reader has verified, or None before the first.
        announced: whether the log has to name the release (over the network), or only must not withdraw it.

    Raises:
        ReleaseError: withdrawn, not announced, or not the release that was announced under its number.
    """
    entry = None if log is None else log.withdrawn.get(manifest.number)
    if entry is not None:
        raise ReleaseError(
            f"release {manifest.number} was withdrawn by the coordinator: {entry.reason}",
            hint="take the newest that stands: fedroto pull",
        )
    said = None if log is None else log.promoted.get(manifest.number)
    if said is None and announced:
        raise ReleaseError(f"release {manifest.number} is not in the coordinator's log of releases")
    if said is not None and said.manifest_digest != manifest.digest:
        raise ReleaseError(
            f"release {manifest.number} has manifest {manifest.digest[:12]}, the coordinator's log says "
            f"{said.manifest_digest[:12]}",
            hint="compare the two hashes with the coordinator by phone",
        )


def check_not_going_back(
    manifest: ReleaseManifest,
    newest: NewestSeen | None,
    log: ReleaseLog | None = None,
    *,
    go_back: bool = False,
) -> None:
    """Apply rule 7.

    Args:
        manifest: of the release.
        newest: that the reader has ever seen.
        log: says which releases were withdrawn.
        go_back: whether a person wants to go back behind withdrawn releases.

    Raises:
        ReleaseError: older than the newest seen, or another release under its number.
    """
    if newest is None:
        return
    if manifest.number < newest.number:
        why = None if log is None else _withdrawn_since(manifest.number, newest.number, log)
        if why is None:
            raise ReleaseError(
                f"release {manifest.number} is older than release {newest.number}, which was here before; "
                "going back is refused",
                hint="ask the coordinator why: an old release served as new is how a known weakness is brought back",
            )
        if not go_back:
            raise ReleaseError(
                f"release {newest.number}, the newest that was here, was withdrawn by the coordinator: {why.reason}; "
                f"what stands is the older release {manifest.number}, and nobody goes back without knowing it",
                hint="take it knowingly with: fedroto pull --go-back, or wait for the coordinator's next release",
            )
    if manifest.number == newest.number and manifest.digest != newest.manifest_digest:
        raise ReleaseError(
            f"there are two releases {manifest.number}: manifest {manifest.digest[:12]} now, "
            f"{newest.manifest_digest[:12]} before; the second is refused",
            hint="compare the two hashes with the coordinator by phone",
        )


def _withdrawn_since(number: int, newest: int, log: ReleaseLog) -> LogEntry | None:
    """Return the newest one's withdrawal if everything handed out after ``number`` was withdrawn, else None."""
    after = [other for other in log.promoted if number < other <= newest]
    return log.withdrawn.get(newest) if all(other in log.withdrawn for other in after) else None
