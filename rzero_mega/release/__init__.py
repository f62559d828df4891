"""What leaves a run: a model in a folder of its own, with a card; the same on a hub; an endpoint that serves it."""
