# syntax=docker/dockerfile:1
# CUDA, Transformer Engine and SGLang for nodes with H100s. NVIDIA's image brings CUDA, torch and Transformer Engine.
FROM nvcr.io/nvidia/pytorch:26.01-py3

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /opt/rzero_mega
COPY pyproject.toml README.md LICENSE ./
COPY rzero_mega ./rzero_mega
COPY recipes ./recipes
COPY slurm ./slurm
# The image pins its own torch; keeping it avoids a second CUDA stack.
RUN pip freeze | grep -iE '^(torch|transformer[-_]engine)' > /tmp/image.txt \
    && pip install --no-cache-dir --constraint /tmp/image.txt ".[gguf,sglang]" \
    && rm /tmp/image.txt
# An unprivileged user; run directories are mounted by the site.
RUN useradd --create-home --uid 1001 rzero
USER 1001
ENTRYPOINT ["rzero-mega"]
