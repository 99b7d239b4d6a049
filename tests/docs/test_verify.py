"""What docs/verify.md tells a security team to run does what it says."""

import re
import subprocess
import sys
from pathlib import Path

from federation.plan import RoundInstruction
from studio_node.ledger import Ledger
from studio_node.ledger_file import LEDGER_FILE
from studio_node.ledger_records import Charge
from studio_node.ledger_report import export_ledger

TEXT = (Path(__file__).parent.parent.parent / "docs/verify.md").read_text()
CHARGE = {
    "sample_rate": 0.25, "noise_multiplier": 4.0, "steps": 5, "max_grad_norm": 1.0, "windows_per_shot": 8,
    "update_denominator": 25.0, "delta": 1e-5,
}  # fmt: skip
ASKED = {
    "federation": "north", "campaign": "autumn", "plan_digest": "a" * 64, "server_round": 1, "studio": "alpha",
    "base_digest": "b" * 64, "bundle_digest": "c" * 64, "issued_at": 0, "expires_at": 1,
}  # fmt: skip


def test_the_chain_is_recomputed_without_our_code_and_a_changed_record_is_found(tmp_path):
    with Ledger.open(tmp_path / LEDGER_FILE) as ledger:
        for server_round in (1, 2, 3):
            asked = RoundInstruction.model_validate(ASKED | {"server_round": server_round})
            charge = Charge.model_validate(CHARGE)
            made = ledger.reserve(asked, charge, {"kélp": 100.0}, dataset_digest="d" * 64, now=1)
            ledger.done(made.head.sequence, "e" * 64, now=1)
        head = ledger.head.hash
    program = re.search(r"<!-- chain -->\n```\n(.+?)```", TEXT, re.DOTALL).group(1)
    export = tmp_path / "ledger.jsonl"
    data = export_ledger(tmp_path, export).data

    def run():
        command = [sys.executable, "-I", "-c", program, str(export)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run().stdout.strip() == f"the chain holds: {head}"
    export.write_bytes(data.replace(b'"steps":5', b'"steps":4', 1))
    assert "record 1 does not hold" in run().stderr
    export.write_bytes(b"".join(data.splitlines(keepends=True)[1:]))
    assert "record 2 does not hold" in run().stderr
