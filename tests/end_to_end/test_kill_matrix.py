"""kill -9 of every part, at every phase of a real round: the round goes on and nobody trains again what it had sent.

pytest tests/end_to_end/test_kill_matrix.py -m long -s        # prints one line a cell; results: benchmarks/README.md
pytest tests/end_to_end/test_kill_matrix.py -m long -s -k "everything and training"
"""

import json
import os
import signal
import time
from datetime import datetime

import pytest
from real_federation import PLAN, STUDIOS, wait_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
SETTINGS = PLAN | {"rounds": 1, "steps_per_round": 20, "noise_multiplier": 300.0, "deadline_s": 300}
PARTS = ("superlink", "fleet-proxy", "roster", "releases")
VICTIMS = ("superlink", "fleet-proxy", "runner", "uplink", "coordinator run", "everything")
"""``everything``: all processes of the coordinator at once, its supervisor too."""
PHASES = {
    "opened": ("campaign", "round.opened"),
    "asked": ("campaign", "studio.asked"),
    "training": ("runner", "charged"),
    "trained": ("runner", "trained"),  # the update is stored, its reply on the way
    "one in": ("campaign", "studio.accepted"),
    "closed": ("campaign", "round.closed"),
}


class Cell:
    """One round that a part is killed in."""

    def __init__(self, federation, victim, phase):
        self.federation, self.victim = federation, victim
        self.where, self.event = PHASES[phase]
        self.name = f"matrix-{victim}-{phase}".replace(" ", "-")
        self.line = federation.campaign(self.name, **SETTINGS)

    def run(self):
        """Run, kill, let everything come back, and return the result and the seconds that were lost after that."""
        child = self.federation.begin(self.name, self.line)
        wait_for(self._reached, f"{self.event} of {self.name}")
        self._kill()
        self.federation.start()
        back = time.time()
        if self.victim in ("coordinator run", "everything"):
            child.wait(60)
            child = self.federation.begin(self.name, self.line)
        return self.federation.end(self.name, child), self._lost_s(back)

    def trained(self, studio):
        return self.federation.events(studio, "runner", "trained", f"{self.name} round 1")

    def _lost_s(self, back):
        """From where all processes were back and the last update was made, to the coordinator having it."""
        stored = [datetime.fromisoformat(one["time"]).timestamp() for s in STUDIOS for one in self.trained(s)]
        lines = [json.loads(line) for line in self._progress.read_text().splitlines()]
        accepted = [line["at"] for line in lines if line["event"] == "studio.accepted"]
        return max(0.0, max(accepted) - max(back, *stored))

    @property
    def _progress(self):
        return self.federation.coordinator / "campaigns" / self.name / "progress.jsonl"

    def _reached(self):
        if self.where == "runner":
            return self.federation.events("alder", "runner", self.event, f"{self.name} round 1")
        return self._progress.exists() and f'"event": "{self.event}"' in self._progress.read_text()

    def _kill(self):
        if self.victim == "everything":
            self.federation.kill("coordinator")
            wanted = [("coordinator", "part", part) for part in PARTS] + [("coordinator", "run")]
        elif self.victim in ("runner", "uplink"):
            wanted = [("studio", self.victim, self.federation.home("alder"))]
        elif self.victim == "coordinator run":
            wanted = [("coordinator", "run", self.name)]
        else:
            wanted = [("coordinator", "part", self.victim)]
        for words in wanted:
            for process in self.federation.standing(*words):
                os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_kill_of_any_part_at_any_phase_leaves_a_round_that_goes_on(federation, victim, phase):
    cell = Cell(federation, victim, phase)
    result, seconds = cell.run()
    (only,) = result["rounds"]
    print(json.dumps({"victim": victim, "phase": phase, "s_lost_after_back": round(seconds, 1)}))
    assert (result["status"], result["state"]) == (0, "complete"), result
    assert (only["phase"], only["returned"], only["attempt"]) == ("closed", list(STUDIOS), 1)
    assert [len(cell.trained(studio)) for studio in STUDIOS] == [1, 1], (
        "a studio trained again what it had finished"
    )
