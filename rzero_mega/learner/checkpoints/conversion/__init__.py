"""Between models in Hugging Face format and Megatron's distributed checkpoints."""
