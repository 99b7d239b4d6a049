"""``python -m federation.cli``: the ``fedroto`` command where no script is on the path."""

from federation.cli.main import main

main()
