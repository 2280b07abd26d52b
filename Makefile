# padlab: `make demo`, `make test`, `make lab`. Each sets up .venv by itself; only Python 3.11+, make and git are needed.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
THREADS ?= 2
export OMP_NUM_THREADS := $(THREADS)
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test slow lab check bench clean

demo: $(VENV)/.ready  ## run the quickstart notebook on the embedded model; prints where the page lies
	$(PY) -m padlab demo

test: $(VENV)/.ready  ## all tests except the slow ones
	$(PY) -m pytest

slow: $(VENV)/.ready  ## the slow tests, by hand
	$(PY) -m pytest -m slow --timeout 3600

lab: $(VENV)/.ready  ## JupyterLab on the notebooks
	$(PY) -m padlab lab

check: $(VENV)/.ready  ## style and structure
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest tests/test_structure.py

bench: $(VENV)/.ready  ## what LOG.md quotes, and the README's table of speeds; takes hours
	for script in bench/[a-z]*.py; do echo "== $$script"; $(PY) $$script || exit 1; done
	$(PY) bench/_readme.py

clean:  ## remove the environment and what demo left
	rm -rf $(VENV) demo-out

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'padlab needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[lab,dev]'
	touch $@
