"""Functions that a studio adds: found as an entry point of an installed package, or as ``module:function``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from federation.errors import IngestError


def load_hook(name: str, group: str, what: str) -> Callable[..., Any]:
    """Find a function of a studio's own.

    Args:
        name: of the entry point, or ``module:function``.
        group: of entry points.
        what: what it is, for errors, as "import hook".

    Raises:
        IngestError: there is none, or it cannot be imported.
    """
    registered = {point.name: point for point in entry_points(group=group)}
    module, colon, function = name.partition(":")
    try:
        if name in registered:
            hook = registered[name].load()
        elif colon:
            hook = getattr(importlib.import_module(module), function)
        else:
            known = ", ".join(sorted(registered)) or "none"
            raise IngestError(
                f"there is no {what} {name!r}; installed: {known}",
                hint=f"register an entry point in the group {group}, or name a module:function",
            )
    except (ImportError, AttributeError) as error:
        raise IngestError(
            f"the {what} {name!r} cannot be loaded: {error}", hint="is its folder on PYTHONPATH?"
        ) from error
    if not callable(hook):
        raise IngestError(f"the {what} {name!r} is no function but a {type(hook).__name__}")
    found: Callable[..., Any] = hook
    return found
