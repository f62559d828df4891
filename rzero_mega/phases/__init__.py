"""One file per phase; each reads as the algorithm and composes the other rooms."""
