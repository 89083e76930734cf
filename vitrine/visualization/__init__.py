"""Visualisation: overlays, panels, grids, contact sheets, and the HTML report."""
