"""The artist's desk: a local page on which shapes are drawn, predicted between their keys, corrected and exported."""
