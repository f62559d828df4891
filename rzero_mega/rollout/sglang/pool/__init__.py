"""All servers of a run: requests and weights go through here."""
