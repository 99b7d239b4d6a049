"""Nuke runs this file when the folder is on its plug-in path: it adds the menu entry."""

import fedroto_panel
import nuke

nuke.menu("Nuke").addCommand("fedroto/Predict between keys", fedroto_panel.predict_selected)
