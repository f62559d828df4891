"""Runs on a Slurm cluster: the cluster file, phases as jobs, their scripts, submission through NeMo-Run, and after."""
