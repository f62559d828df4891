"""What `tools.bench_client` measures."""
