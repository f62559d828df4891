"""How long an iteration takes: the run's own scheduling against servers and a learner that cost virtual time alone."""
