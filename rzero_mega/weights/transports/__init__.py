"""How buckets of weights reach a server: one file per transport."""
