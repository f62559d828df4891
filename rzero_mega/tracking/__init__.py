"""Weights & Biases, console progress, and the report with its plots. Nothing here imports torch, Megatron or SGLang."""

from rzero_mega.tracking.progress import PhaseProgress, Progress, benchmarks_table, iterations_table, labels_table
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.status import run_status
from rzero_mega.tracking.wandb_run import WandbRun

__all__ = [
    "PhaseProgress",
    "Progress",
    "WandbRun",
    "benchmarks_table",
    "iterations_table",
    "labels_table",
    "run_status",
    "write_report",
]
