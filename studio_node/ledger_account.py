"""What one show has spent, by the records that charged it. Pure, no disk."""

from __future__ import annotations

from dataclasses import dataclass

from federation.privacy import PrivacyEvent, RenyiFilter, epsilon


@dataclass(frozen=True)
class Account:
    """What a show has spent: the largest loss of any of its shots, never a guarantee for the show as a whole.

    Attributes:
        show: the show's name.
        renyi_order: of its lifetime filter.
        delta: the smallest that any of its charges was made for.
        events: all that it was charged, merged.
        rounds: number of charges.
        exhausted: whether a restored backup left its true spend unknown, so that nothing is left.
    """

    show: str
    renyi_order: int
    delta: float
    events: tuple[PrivacyEvent, ...]
    rounds: int
    exhausted: bool = False

    @property
    def epsilon(self) -> float:
        """Epsilon of everything charged, by PRV, taken as one fixed sequence."""
        return float("inf") if self.exhausted else epsilon(self.events, self.delta)

    def fraction(self, epsilon_lifetime: float) -> float:
        """Which part of a lifetime cap is used, on the filter that allows for plans chosen after seeing results."""
        if self.exhausted:
            return float("inf")
        return RenyiFilter(self.renyi_order, epsilon_lifetime, self.delta).fraction(self.events)
