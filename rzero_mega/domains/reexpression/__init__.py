"""The same question in another form, with the map of its answer back. A kind of forms is a file."""
