# Everything a person or CI runs. `make up` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# ASYNC109: a `timeout` that bounds one protocol step is part of a contract, as in connect().
# ASYNC120: an exception lost to a cancellation that comes while it is handled is lost rightly.
FLAKE8_ASYNC := --select ASYNC1,ASYNC2,ASYNC3 --extend-ignore ASYNC109,ASYNC120 \
	--startable-in-context-manager serve_admin,serve_ingress,serve_egress,_serve_admin,_serve_echo,keep_running

.PHONY: up down test check fmt docs fuzz lab bench sim clean

$(VENV)/.product: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.product
	@$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/.check: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --group check
	@touch $@

up: $(VENV)/.product  ## start a local fabric: three fabricd, one fabric-ingress, one HTTP backend
	@$(BIN)/fabricctl up $(if $(PORT),--port $(PORT))

down:  ## end exactly the processes that `make up` started
	@test ! -x $(BIN)/fabricctl || $(BIN)/fabricctl down || test $$? -eq 3  # 3: none was made

test: $(VENV)/.test  ## the fast suite
	@$(BIN)/python -m pytest -q -n 2 -m 'not slow and not figures'

check: $(VENV)/.check  ## style, types, layers, architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/flake8 $(FLAKE8_ASYNC) fabric services cli
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_architecture.py

fmt: $(VENV)/.check
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.check  ## write the reference pages that are made from the code
	@$(BIN)/python docs/generate.py

FUZZ ?= 1000000
fuzz: $(VENV)/.test  ## a million inputs, or FUZZ of them, shared among the decoders; two processes
	@FABRIC_FUZZ=$(FUZZ) $(BIN)/python -m pytest -q -n 2 \
		tests/core/test_codec_fuzz.py tests/trio_quic/test_fuzz_flights.py

lab: $(VENV)/.test  ## real processes, faults, strangers; minutes
	@$(BIN)/python -m pytest -q -m slow

bench: $(VENV)/.test  ## ratios against rivals measured in the same run; writes bench.json
	@$(BIN)/python -m tests.bench

SEEDS ?= 20
sim: $(VENV)/.test  ## what many nodes have promised, in virtual time; SEEDS seeds of each; hours
	@missed=0; \
	play() { $(BIN)/fabricctl sim --jobs 2 "$$@" || missed=1; echo; }; \
	play --scenario wave --nodes 100 --loss 0.05 --seeds $(SEEDS); \
	play --scenario wave --nodes 1000 --loss 0.05 --seeds $(SEEDS); \
	play --scenario partition --nodes 100 --loss 0.05 --cut 600 --seeds $(SEEDS); \
	play --scenario death --scenario pause --nodes 100 --loss 0.1 --seeds $(SEEDS); \
	play --scenario restarts --nodes 100 --loss 0.05 --skew 3600 --seeds $(SEEDS); \
	play --scenario steady --nodes 100 --loss 0.05 --seeds 2; \
	play --scenario flood --nodes 50 --loss 0.05 --seeds 2; \
	$(BIN)/python -m pytest -q -n 2 -m figures || missed=1; \
	exit $$missed

clean: down
	@rm -rf $(VENV) .fabric
