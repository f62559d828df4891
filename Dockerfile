# syntax=docker/dockerfile:1
# Two environments for nodes with H100s. The learner's is that of NVIDIA's image, which brings CUDA, torch and
# Transformer Engine; the servers' is SGLang's own, in /opt/sglang, since SGLang asks for another torch and another
# transformers. tools/ENVIRONMENTS.md has the versions, `make lint-environments` resolves them.
FROM nvcr.io/nvidia/pytorch:26.01-py3

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /opt/rzero_mega
# uv, as the image tells pip to keep to the image's own versions. All that is installed is in the lock.
COPY tools/sglang-gpu.txt ./tools/
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv venv --python python3 /opt/sglang \
    && uv pip install --no-cache --no-deps --python /opt/sglang/bin/python -r tools/sglang-gpu.txt
COPY pyproject.toml README.md LICENSE ./
COPY rzero_mega ./rzero_mega
COPY recipes ./recipes
COPY slurm ./slurm
# The image pins its own torch; keeping it avoids a second CUDA stack.
RUN pip list --format=freeze | grep -iE '^(torch|transformer[-_]engine)=' > /tmp/image.txt \
    && pip install --no-cache-dir --constraint /tmp/image.txt ".[gguf]" \
    && rm /tmp/image.txt
# An unprivileged user; run directories are mounted by the site.
RUN useradd --create-home --uid 1001 rzero
USER 1001
ENTRYPOINT ["rzero-mega"]
