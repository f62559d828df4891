"""Grids: recipes × seeds × overrides as runs side by side, and one table of what they brought."""
