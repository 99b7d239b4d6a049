"""The studio's tutorial runs as it is written, against a real coordinator's home."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TUTORIAL = (ROOT / "docs/tutorial-studio.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_command_of_the_studios_tutorial_runs_as_it_stands(tmp_path):
    fedroto = tmp_path / "bin" / "fedroto"
    fedroto.parent.mkdir()
    fedroto.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m federation.cli "$@"\n')
    fedroto.chmod(0o755)
    environment = {**os.environ, "PATH": f"{fedroto.parent}:{os.environ['PATH']}"}

    def run(command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        # The doctor ends with 1 here: no uplink runs, and it says so.
        assert done.returncode == 0 or command.startswith("fedroto doctor"), (
            f"{command}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    run("fedroto coordinator init --home fed --name roto --host 127.0.0.1")
    said: list[str] = []
    for language, block in BLOCKS:
        if language == "python":
            (tmp_path / "pipeline_shots.py").write_text(block)
            continue
        if language == "text":
            continue
        for command in block.strip().splitlines():
            if command.startswith("fedroto studio join"):
                read_out = re.search(r"SHA256:\S+", said[0]).group()
                run(
                    "fedroto coordinator admit node/northlight.join-request --home fed --kit northlight.kit "
                    f"--fingerprint {read_out}"
                )
            said.append(run(command))
    outputs = "\n".join(said)
    assert "would be ingested: 3 new" in outputs
    assert "ingested: 0 new, 0 updated, 3 unchanged" in outputs
    assert "shot002_v2 is shot002 from now on" in outputs
    assert "kelp is withdrawn: 3 packs of 4 shots deleted" in outputs
