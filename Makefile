# make train [DATA=folder] [ARGS="--max-steps 100"]   train the small demo model
# make test                                           format, lint, types, and the tests that take seconds
# make test-all                                       the slow ones too
# make mutants [WORDS="best clip"]                    plants bugs and sees whether the tests notice
# make faults [ARGS="--only audio --scale 2"]          injects faults, kills and full disks and tells what became of them
# make check                                          format, lint, types, spelling
# make docs                                           the site, in site/, with warnings as errors
# make dist                                           sdist and wheel, in dist/, and a check of their metadata
# Each sets up what it needs first: HOST=0.0.19 for the older stable-audio-tools, PYTHON=3.12 (or a path) for another
# Python than the newest found, TORCH_BACKEND=cpu (or cu128, auto, …: uv's option) for another build of torch.
VENV ?= .venv
HOST ?=
PYTHON ?=
TORCH_BACKEND ?=
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
DATA ?=
NAME ?= demo-$(shell date +%Y%m%d-%H%M%S)
ARGS ?=
WORDS ?=
SET_UP := scripts/set_up.py --venv "$(VENV)" $(if $(HOST),--host "$(HOST)") $(if $(PYTHON),--python "$(PYTHON)") \
  $(if $(TORCH_BACKEND),--torch-backend "$(TORCH_BACKEND)")

.PHONY: setup train test test-slow test-all mutants faults check docs dist clean

setup:
	@for python in python3 python python3.13 python3.12 python3.11 python3.10; do \
	  if $$python -c "import sys; sys.exit(sys.version_info < (3, 8))" >/dev/null 2>&1; then exec $$python $(SET_UP); fi; \
	done; \
	if uv --version >/dev/null 2>&1; then exec uv run -q --no-project --python '>=3.8,<3.14' $(SET_UP); fi; \
	echo "error: there is neither a Python from 3.8 nor a uv; install one of them" >&2; exit 1

train: setup
	$(if $(DATA),$(BIN)/python scripts/dataset_config.py "$(DATA)" --out $(VENV)/dataset.json)
	$(BIN)/python scripts/train.py --model-config model_configs/ear_vae_demo.json \
	  --dataset-config $(if $(DATA),$(VENV)/dataset.json,dataset_configs/demo.json) --name "$(NAME)" \
	  --batch-size 2 --num-workers $(if $(DATA),1,0) --checkpoint-every 200 --val-every 530 --held-out-every 20 $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell ear_sat docs examples scripts *.md

test: check
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -n 2 -m slow

test-all: test test-slow

mutants: setup
	$(BIN)/python scripts/mutants.py $(WORDS)

faults: setup
	$(BIN)/python scripts/faults.py $(ARGS)

docs: setup
	NO_MKDOCS_2_WARNING=1 HF_HUB_OFFLINE=1 $(BIN)/mkdocs build

# Without isolation: with the tools of the environment, whose versions are pinned.
dist: setup
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
