"""Whether a server holds what was sent to it: checksums, weight versions, log-probabilities."""
