"""How often somebody may ask: a limit that holds before anything is authenticated."""

from __future__ import annotations

from collections import OrderedDict


class RequestRate:
    """A token bucket for each caller; the longest unused ones are forgotten first."""

    def __init__(self, burst: int, per_s: float, callers_max: int = 4096) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._callers_max = callers_max
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def allows(self, caller: object, now: float) -> bool:
        """Take one token of a caller's bucket, if there is one.

        Args:
            caller: what tells callers apart.
            now: monotonic seconds.
        """
        tokens, seen = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + self._per_s * (now - seen))
        allowed = tokens >= 1.0
        self._buckets[caller] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._buckets) > self._callers_max:
            self._buckets.popitem(last=False)
        return allowed
