"""The steps of the GPU lane, one per file, and what drives them. See tools/gpu_lane.py."""
