"""R-Zero at Megatron scale: a Challenger and a Solver grown from one base model teach each other without human data."""

__version__ = "0.1.0"
