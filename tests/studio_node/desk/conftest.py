import numpy as np
import pytest

from model.shapes import Shape


def circle(centre, radius, points=8):
    """Controls [N, 3, 2] of a round Bezier shape."""
    angles = 2 * np.pi * np.arange(points) / points
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    along = np.stack([-unit[:, 1], unit[:, 0]], axis=1) * radius * 4 / 3 * np.tan(np.pi / (2 * points))
    return np.stack([-along, np.asarray(centre) + radius * unit, along], axis=1)


@pytest.fixture
def round_shape():
    """A round shape of 8 points keyed at 1, 11 and 21, wandering to the right."""
    keys = [circle((20, 30), 10), circle((40, 30), 10), circle((60, 40), 10)]
    return Shape.from_keys("round", [1, 11, 21], np.stack(keys))
