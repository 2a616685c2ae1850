# make compare: the main job on built-in text; make test: what must pass everywhere; make test-all: the long checks too.
# A machine without a GPU need not download a CUDA build: TORCH_INDEX=<PyTorch's own CPU index> make compare
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: compare test test-all budget accept record docs lint clean

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing blockyard (about a minute) ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo "installing what the tests need ..."
	@$(INSTALL) -e ".[test,oracle,items,optimisers,sentencepiece,serve,onnx]"
	@touch $@

compare: $(VENV)/.ready
	@$(BIN)/blockyard compare llama gla gated_deltanet mamba2_hybrid --params 200k --tokens 200k --length 128 --seeds 3 --out runs/compare

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n 2 -m "not slow" --durations 10

test-all: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n 2 --durations 20

budget: $(VENV)/.ready-test
	$(BIN)/python -m tests.budget --run

accept: $(VENV)/.ready-test
	$(BIN)/python -m tests.acceptance.verdicts

record: $(VENV)/.ready-test
	$(BIN)/python -m tests.record

docs: $(VENV)/.ready-test
	$(BIN)/python -m sphinx -W -b html docs build/docs

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) runs build
