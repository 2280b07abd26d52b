# padlab: `make demo`, `make test`, `make lab`, `make docs`. Each sets up .venv by itself; needed: Python 3.11+, make, git.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
THREADS ?= 2
export OMP_NUM_THREADS := $(THREADS)
export TOKENIZERS_PARALLELISM := false
FAST_TESTS := tests/test_structure.py tests/rankings tests/lm/test_chat.py tests/test_candidates.py

.PHONY: demo test slow lab check docs bench notebooks clean

demo: $(VENV)/.ready  ## run the quickstart notebook; prints where the executed notebook and its page are
	$(PY) -m padlab demo

test: $(VENV)/.ready  ## all tests except the slow ones: two processes, one thread each
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(THREADS) --dist loadfile

slow: $(VENV)/.ready  ## the slow tests, by hand
	$(PY) -m pytest -m slow --timeout 3600

lab: $(VENV)/.ready  ## JupyterLab on the notebooks
	$(PY) -m padlab lab notebooks

check: $(VENV)/.ready  ## style, structure, rankings, losses, chat, table: at most 90 seconds
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(THREADS) $(FAST_TESTS)

docs: $(VENV)/.ready  ## the documentation as a site, from docs/, the docstrings and the notebooks as saved
	OMP_NUM_THREADS=1 $(PY) -m sphinx -q -W --keep-going -d site/scratch docs site/html
	@echo "the site is $(CURDIR)/site/html/index.html"

notebooks: $(VENV)/.ready  ## execute all notebooks anew, in place; prints the time of each
	$(PY) bench/notebooks.py

bench: $(VENV)/.ready  ## what docs/results.md quotes, and its table of speeds; takes hours
	for script in $(filter-out bench/notebooks.py,$(wildcard bench/[a-z]*.py)); do echo "== $$script"; $(PY) $$script || exit 1; done
	$(PY) bench/_speed_table.py

clean:  ## remove the environment, and what demo and docs left
	rm -rf $(VENV) demo-out site docs/course

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'padlab needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[lab,dev,docs]'
	touch $@
