"""The pieces of the policy-gradient loss, one per file; all pure tensor functions over tokens [t]."""
