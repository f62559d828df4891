"""Losses and their terms, one per file: pure functions of tensors over response tokens, [n] in fp32."""
