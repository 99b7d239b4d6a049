"""A studio's next node key: made beside the one in use, and put in its place when that one is retired.

    keys/node_key            in use
    keys/next/node_key       made, its request sent, not yet in use
    keys/node_key.replaced   the one before; retired at the coordinator, it never comes back

The uplink takes the next key by itself once the coordinator has retired the old one, so a studio's node goes on
through a rotation without being stopped. A kill at any point leaves either key in place, whole.
"""

from __future__ import annotations

from pathlib import Path

from federation import keys
from federation.durable import sync_folder, write_atomic
from federation.homes import StudioHome
from federation.keys import NodeKey

NEXT_FOLDER = "next"


def next_key_path(root: Path) -> Path:
    """Where the next node key of a studio's home lies, if there is one."""
    return StudioHome(root).node_key.parent / NEXT_FOLDER / keys.NODE_KEY


def next_key(root: Path) -> NodeKey | None:
    """Load a studio's next node key; None if no rotation has begun.

    Raises:
        IdentityError: readable by others, or no node key.
    """
    path = next_key_path(root)
    return keys.load_node_key(path) if path.exists() else None


def made_next_key(root: Path) -> NodeKey:
    """Return the next node key, made now if there is none; beginning a rotation twice gives the same key.

    Raises:
        IdentityError: readable by others, or no node key.
        FedrotoError: the disk refused.
    """
    return next_key(root) or keys.create_node_key(next_key_path(root).parent)


def adopt_next_key(root: Path) -> bool:
    """Put the next key in the place of the one in use; False if there is none.

    Raises:
        IdentityError: a key is readable by others, or no node key.
        FedrotoError: the disk refused.
    """
    pending = next_key(root)
    if pending is None:
        return False
    current, path = StudioHome(root).node_key, next_key_path(root)
    write_atomic(current.with_name(current.name + ".replaced"), keys.read_private(current), mode=0o600)
    write_atomic(current.with_name(current.name + ".pub"), pending.public + b"\n")
    path.replace(current)
    sync_folder(current.parent)
    sync_folder(path.parent)
    path.with_name(path.name + ".pub").unlink(missing_ok=True)
    return True
