"""Megatron-core as this project uses it: its device, layouts, modules, model and optimizer."""
