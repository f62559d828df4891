"""What rewards are measured against: one file per benchmark, put together by `tools/bench_rewards.py`."""
