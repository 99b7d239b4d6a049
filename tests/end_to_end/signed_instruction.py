"""A signed instruction for tests in which no campaign makes one."""

import time

from cryptography.hazmat.primitives.asymmetric import ed25519

from federation.plan import RoundInstruction

PLAN_KEY = ed25519.Ed25519PrivateKey.generate()


def signed_instruction(key=PLAN_KEY, **changed):
    """The bytes of an instruction for studio alder, valid for a quarter of an hour."""
    fields = {
        "federation": "north",
        "campaign": "autumn",
        "plan_digest": "a" * 64,
        "server_round": 7,
        "studio": "alder",
        "base_digest": "c" * 64,
        "bundle_digest": "d" * 64,
        "issued_at": int(time.time()),
        "expires_at": int(time.time()) + 1000,
        "seen_head": None,
    }
    return RoundInstruction(**(fields | changed)).signed(key).to_bytes()
