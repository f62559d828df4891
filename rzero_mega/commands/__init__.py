"""What is a command and no phase: one file each."""
