"""The whole configuration as dataclasses; unknown keys and impossible values are errors."""

from rzero_mega.config.load import (
    config_from_values,
    config_from_yaml,
    load_config,
    presets_within,
    to_yaml,
    with_overrides,
)
from rzero_mega.config.preset_files import ablation_names, preset_names
from rzero_mega.config.schema import Config

__all__ = [
    "Config",
    "ablation_names",
    "config_from_values",
    "config_from_yaml",
    "load_config",
    "preset_names",
    "presets_within",
    "to_yaml",
    "with_overrides",
]
