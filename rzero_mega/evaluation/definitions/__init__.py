"""Public benchmarks, one YAML file each, with the fields of `rzero_mega.evaluation.definition.BenchmarkDefinition`."""
