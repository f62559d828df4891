"""The Megatron-core learner: device, parallel layout, model, packing, losses, train step, checkpoints."""
