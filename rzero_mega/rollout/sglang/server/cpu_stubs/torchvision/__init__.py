"""In place of torchvision: SGLang imports it for models that see pictures, also when the served model reads text only.

There are the names that are imported when a server starts, and nothing behind them.
"""

__version__ = "0.0.0"
