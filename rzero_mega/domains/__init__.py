"""Domains: what is asked and answered, and who judges. One folder each; phases know the protocol and the registry."""
