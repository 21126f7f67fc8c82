# Two commands: `make run` makes the study's pages, `make test` runs every test. Both set up what is missing.
PYTHON ?= python3
export TZ := UTC
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1
# A machine that forbids byte code makes every process compile everything again, three times slower, for ever.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
unexport VIRTUAL_ENV

READY := .venv/.ready
# The notebooks as a hand would run them, on a copy of the shipped study with fewer replicates: a test writes into no folder of
# the project.
NBVAL := .fieldwork/nbval

.PHONY: run test setup lint validity docs clean
run: $(READY)
	@.venv/bin/fieldwork run

# The notebooks run beside the other tests, which leave a core idle now and then; what they say comes at the end.
test: $(READY)
	@rm -rf $(NBVAL) && mkdir -p $(NBVAL)/data && cp -r notebooks instruments study.toml $(NBVAL) && cp -r data/raw $(NBVAL)/data
	@.venv/bin/python -c 'from pathlib import Path; from tests.quick import shorten; shorten(Path("$(NBVAL)"), replicates=99)'
	@.venv/bin/python -m pytest -q --nbval-lax --nbval-current-env --rootdir $(NBVAL) -c /dev/null $(NBVAL)/notebooks \
	  >$(NBVAL)/said 2>&1 & notebooks=$$!; trap "kill $$notebooks" INT TERM; \
	  .venv/bin/python -m pytest -q -m "not slow" -n 2 --dist loadscope --no-loadscope-reorder tests src; others=$$?; \
	  wait $$notebooks; code=$$?; cat $(NBVAL)/said; exit $$((code ? code : others))

setup: $(READY)

lint: $(READY)
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

validity: $(READY)
	@.venv/bin/python -m benchmarks.validity
	@.venv/bin/python -m benchmarks.validity_ordinal --out docs/validity_ordinal.md
	@.venv/bin/python -m benchmarks.validity_statistics

# The handbook, from docs/ and docstrings; a warning is a failure. Its tools have an environment of their own: in `.venv` they
# would be other software than the results were made with, and every chapter would run again.
docs: .tools/bin/uv
	@UV_COMPILE_BYTECODE=0 UV_PROJECT_ENVIRONMENT=.tools/docs .tools/bin/uv sync --frozen --quiet --group docs --python $(PYTHON)
	@.tools/docs/bin/python -m sphinx -W --keep-going -q -b html -d .fieldwork/doctrees docs docs/_build
	@echo docs/_build/index.html

$(READY): pyproject.toml uv.lock .tools/bin/uv
	@UV_COMPILE_BYTECODE=0 .tools/bin/uv sync --frozen --quiet --python $(PYTHON)
	@touch $@

.tools/bin/uv:
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

clean:
	rm -rf .venv .tools .fieldwork
