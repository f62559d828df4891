"""Losses and their terms, one per file: pure functions of tensors over tokens, [t] in fp32."""
