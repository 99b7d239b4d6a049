"""The one adapter to Flower: everything that touches flwr's internals is in this package.

    bundle.py       the app bundle that a run carries, built from the installed packages (imports no flwr)
    version.py      which flwr this adapter was written for, and the environment of every process that loads it
    transport.py    one HTTP client set-up and one translation of failures into our errors
    objects.py      a Message to and from the objects that Flower moves one by one
    heartbeat.py    a heartbeat thread that only sets a flag
    roster.py       the studios' nodes that the SuperLink knows (control API, loopback)
    run_state.py    what is kept on disk of a run
    coordinator.py  the coordinator's run: questions out, replies in (runtime API, loopback)
    studio.py       a studio's connection through the fleet proxy (fleet API)
    superlink.py    turns a process into a SuperLink

Flower's client helpers are not used where they end or signal the process they run in (flwr 1.41: a 401 answer makes
``make_simple_http_retry_invoker`` send SIGINT, ``http_request_response`` calls ``sys.exit``); the generated clients
beneath them are.

Importing the package switches Flower's telemetry, update check and run-time installation off for this process,
before any of its modules imports flwr.
"""

import os

from federation.flower.version import FLOWER_ENVIRONMENT

os.environ.update(FLOWER_ENVIRONMENT)
