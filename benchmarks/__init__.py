"""Measurements whose numbers stand in the README beside them; not part of the installed product."""
