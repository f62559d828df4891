"""Which parallel layout to train a model with: memory and time per candidate, from sizes alone. Pure."""
