"""Programs for people who work on the repository: `python -m tools.NAME`, in its root."""
