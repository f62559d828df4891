"""The terms of the policy-gradient loss, one per file: pure functions of tensors over tokens, [t] in fp32."""
