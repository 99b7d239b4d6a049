"""Level 1: does any noise come back? Between weights, steps, rounds and processes.

A seed that is set anywhere on the noise's way makes draws repeat, and what repeats can be subtracted.
"""

from __future__ import annotations

import base64
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from federation.errors import FedrotoError
from federation.plan import PrivacyConstants
from studio_node.audit.bounds import cosine_ceiling
from studio_node.audit.findings import Finding
from studio_node.audit.mechanism import ALARM, draw_noise

PROCESSES, STEPS_EACH, PROCESS_S = 2, 2, 600.0
Rows = NDArray[np.float64]


class Restarts:
    """New processes that draw noise through the same code from the same beginning; started at once, read later."""

    def __init__(self, privacy: PrivacyConstants) -> None:
        command = [sys.executable, "-m", "studio_node.audit.repeats", privacy.model_dump_json()]
        self._children = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
            )
            for _ in range(PROCESSES)
        ]

    def rows(self) -> Rows:
        """Wait for them; returns [processes * steps, weights] of standardised noise.

        Raises:
            FedrotoError: a process failed or took too long.
        """
        rows = []
        try:
            for child in self._children:
                out, err = child.communicate(timeout=PROCESS_S)
                if child.returncode:
                    raise FedrotoError(f"a restarted process of the audit failed: {err.decode()[-300:]}")
                drawn = np.frombuffer(base64.b64decode(out), np.float64)
                rows.append(drawn.reshape(STEPS_EACH, -1))
        except subprocess.TimeoutExpired as error:
            raise FedrotoError(f"a restarted process of the audit took more than {PROCESS_S:g} s") from error
        finally:
            self.stop()
        return np.concatenate(rows)

    def stop(self) -> None:
        """End what is left of them."""
        for child in self._children:
            child.kill()
            child.wait()


def repeat_findings(rows: Rows, restarted: Rows) -> list[Finding]:
    """Look for noise that resembles other noise.

    Args:
        rows: [steps, weights] of several trainers in this process; both tensors of the probe in one row.
        restarted: [steps, weights] of new processes.
    """
    every = np.concatenate([rows, restarted])
    halves = every.reshape(2 * len(every), -1)  # the two tensors of a step, apart
    size = np.linalg.norm(halves, axis=1, keepdims=True)
    alike = np.abs(halves @ halves.T) / np.maximum(size * size.T, 1e-300)
    pairs = len(halves) * (len(halves) - 1) // 2
    largest = float(alike[np.triu_indices(len(halves), 1)].max())
    silent = not np.all(size > 0)
    even, odd = rows[:, ::2].ravel(), rows[:, 1::2].ravel()
    across = abs(float(even @ odd)) / max(float(np.linalg.norm(even) * np.linalg.norm(odd)), 1e-300)
    return [
        Finding.below(
            "repeats",
            "Does noise come back in another step, tensor, round or process?",
            1.0 if silent else largest,
            cosine_ceiling(halves.shape[1], ALARM / pairs),
            f"largest likeness (cosine) among {pairs} pairs: {len(rows)} steps of new trainers, all seeded alike "
            f"before, and {len(restarted)} steps of {PROCESSES} restarted processes",
        ),
        Finding.below(
            "neighbouring weights",
            "Does the noise of one weight tell anything about the noise of the next?",
            across,
            cosine_ceiling(even.size, ALARM),
            f"likeness (cosine) between the noise of {even.size} weights and that of their neighbours",
        ),
    ]


def main(constants: str) -> None:
    """Be a restarted process: draw, and write the noise to standard output."""
    privacy = PrivacyConstants.model_validate_json(constants)
    rows = draw_noise(privacy, with_shot=False, trainers=1, steps=STEPS_EACH)
    sys.stdout.write(base64.b64encode(rows.tobytes()).decode())


if __name__ == "__main__":
    main(sys.argv[1])
