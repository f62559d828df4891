"""The bases of the arithmetic world: nano and folklore."""
