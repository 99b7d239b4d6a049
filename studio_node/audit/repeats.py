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

STEPS_EACH, PROCESS_S = 2, 600.0
Rows = NDArray[np.float64]


class Restart:
    """A new process that draws noise through the same code, and this one's own first draws to compare it with.

    Must be made before this process draws anything else: a generator that is seeded at the start of a process then
    stands where the new one's does. The process runs beside other work until its noise is asked for.
    """

    def __init__(self, privacy: PrivacyConstants) -> None:
        command = [sys.executable, "-m", "studio_node.audit.repeats", privacy.model_dump_json()]
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._own = _first_draws(privacy)

    def rows(self) -> Rows:
        """Wait for it; returns [2 * STEPS_EACH, weights] of standardised noise: this process's, then the new one's.

        Raises:
            FedrotoError: it failed or took too long.
        """
        try:
            out, err = self._child.communicate(timeout=PROCESS_S)
        except subprocess.TimeoutExpired as error:
            raise FedrotoError(f"a restarted process of the audit took more than {PROCESS_S:g} s") from error
        finally:
            self.stop()
        if self._child.returncode:
            raise FedrotoError(f"a restarted process of the audit failed: {err.decode()[-300:]}")
        drawn = np.frombuffer(base64.b64decode(out), np.float64)
        return np.concatenate([self._own, drawn.reshape(STEPS_EACH, -1)])

    def stop(self) -> None:
        """End what is left of it."""
        self._child.kill()
        self._child.wait()


def repeat_findings(rows: Rows, restarted: Rows) -> list[Finding]:
    """Look for noise that resembles other noise.

    Args:
        rows: [steps, weights] of several trainers in this process; both tensors of the probe in one row.
        restarted: [steps, weights], the first draws of this process and of a new one.
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
            f"before, and the first {len(restarted)} of this process and a restarted one",
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
    sys.stdout.write(base64.b64encode(_first_draws(privacy).tobytes()).decode())


def _first_draws(privacy: PrivacyConstants) -> Rows:
    return draw_noise(privacy, with_shot=False, trainers=1, steps=STEPS_EACH)


if __name__ == "__main__":
    main(sys.argv[1])
