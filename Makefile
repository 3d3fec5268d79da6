# make train [DATA=folder] [ARGS="--max-steps 100"]   train the small demo model
# make test                                           everything that must pass
# make check                                          format, lint, types
VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3.11 python3.10 python3 python,$(if $(shell command -v $(p) 2>/dev/null),$(p))))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?=
NAME ?= demo-$(shell date +%Y%m%d-%H%M%S)
ARGS ?=

.PHONY: setup train test check clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))" 2>/dev/null || { \
	  echo "error: this needs Python 3.10 or 3.11 (stable-audio-tools pins packages that have no newer builds); install one and run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[sat,dev]'
	touch $@

train: $(STAMP)
	$(if $(DATA),$(BIN)/python scripts/dataset_config.py "$(DATA)" --out $(VENV)/dataset.json)
	$(BIN)/python scripts/train.py --model-config model_configs/ear_vae_demo.json \
	  --dataset-config $(if $(DATA),$(VENV)/dataset.json,dataset_configs/demo.json) --name "$(NAME)" \
	  --batch-size 4 --num-workers $(if $(DATA),1,0) --checkpoint-every 200 --val-every 440 $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest -n 2

clean:
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache
