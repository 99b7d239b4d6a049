import shutil
from dataclasses import replace

import cv2
import pytest
import torch

from model import weights
from model.network import Fusion, RotoModel
from model.procedural_settings import ShotSettings
from studio_node.written_shots import make_procedural_shots

SMALL = ShotSettings(
    width=72, height=56, frames=9, parts_chance=0.0, occluder_chance=0.0, blur_chance=0.0, size=(0.4, 0.5)
)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """A weights file without matcher: the untrained network blends its candidates, which is quick."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    torch.manual_seed(5)
    weights.save(path, RotoModel(Fusion()).to_tensors(), {})
    return path


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "show"
    return make_procedural_shots(folder, seed=11, count=2, settings=SMALL, prefix="sh", artist_gap=4)


@pytest.fixture
def show(made_once, tmp_path):
    """Two small shots as files, ``sh001`` and ``sh002``: a folder each below ``tmp_path / 'show'``."""
    shutil.copytree(made_once[0].folder.parent, tmp_path / "show")
    return tuple(
        replace(
            shot, folder=tmp_path / "show" / shot.name, plate=tmp_path / "show" / shot.name / shot.plate.name
        )
        for shot in made_once
    )
