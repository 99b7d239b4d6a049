import gc
import subprocess
import sys
import weakref

import httpx

from federation.memory import untied

PEAK = """
import sys
from federation.memory import return_large_blocks
if sys.argv[1] == "given back":
    return_large_blocks()
bytearray(b"x") * (16 << 20)  # freed: from here on glibc would keep blocks of this size
kept = [b"x" * (4 << 20) for _ in range(20)]
last = b"y" * (4 << 20)  # holds the end of the heap, so that nothing before it can be trimmed
del kept
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def test_freed_large_blocks_go_back_to_the_system():
    rest = {}
    for way in ("given back", "as it is"):
        done = subprocess.run([sys.executable, "-c", PEAK, way], capture_output=True, text=True, check=True)
        rest[way] = int(done.stdout)
    assert rest["as it is"] - rest["given back"] > 60_000  # kB, of the 80 MB


def test_a_response_that_was_read_needs_no_collector():
    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, content=b"body")))
    gc.disable()
    try:
        kept, freed = client.get("http://here/"), untied(client.get("http://here/"))
        assert freed.content == b"body"
        watched = weakref.ref(kept), weakref.ref(freed)
        del kept, freed
        assert [one() is None for one in watched] == [False, True]  # as httpx leaves it, and untied
    finally:
        gc.enable()
