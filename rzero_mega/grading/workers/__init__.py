"""Comparisons in bulk, and the killable processes that decide what may take long."""
