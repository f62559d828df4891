"""What `tools/bench_learner.py` measures, one file for each comparison."""
