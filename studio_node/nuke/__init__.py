"""The Nuke panel: files for Nuke's own Python (3.7 and later), which import nothing but the standard library and nuke.

This folder goes on Nuke's plug-in path; nothing of fedroto imports it.
"""
