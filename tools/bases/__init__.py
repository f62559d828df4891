"""The bases that ship with the package: what they are trained to write, how they are built and measured."""
