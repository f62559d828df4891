"""What `tools/bench_rewards.py` measures, a file for each benchmark."""
