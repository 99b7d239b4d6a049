"""The one command, ``fedroto``: it parses arguments, calls one function of a side and shows its result.

This package is the only place that imports both sides, and only inside functions, so that ``fedroto --help`` answers
in a blink.
"""
