"""The key of an endpoint: in an environment variable, and nowhere else."""

from __future__ import annotations

import os

from rzero_mega.config.schema import EndpointConfig
from rzero_mega.errors import UserError


def check_key(config: EndpointConfig, section: str) -> str | None:
    """The key, out of the environment. UserError if the variable that the configuration names is not set."""
    if config.url is None or config.key_variable is None:
        return None
    key = os.environ.get(config.key_variable, "").strip()
    if not key:
        raise UserError(f"{section}.key_variable: the environment variable {config.key_variable} is not set; export it")
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{section}.key_variable: the environment variable {config.key_variable} holds no key")
    return key
