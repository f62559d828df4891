"""Megatron-core as the learner uses it: process groups, modules, model, optimizer, and what lets it run on CPUs."""
