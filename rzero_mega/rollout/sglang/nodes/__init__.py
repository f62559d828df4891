"""Servers on the nodes of a job: asked for, started and found through files."""
