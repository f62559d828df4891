"""The whole configuration as dataclasses over OmegaConf; unknown keys and impossible values are errors."""

from rzero_mega.config.load import config_from_yaml, load_config, preset_names, to_yaml, with_overrides
from rzero_mega.config.schema import Config

__all__ = ["Config", "config_from_yaml", "load_config", "preset_names", "to_yaml", "with_overrides"]
