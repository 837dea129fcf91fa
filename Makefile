# make demo   train on the digits, sample, evaluate: three to nine minutes on two cores after the install
# make test   lint, types and all tests but the long ones
# make compare   every family of generation trained and compared, with the tables of docs/compare.md: two hours; go on by the same command
# make reference   docs/reference.md, from the descriptions beside the fields of configs and nets
# make test-published ORIGINALS=DIR   the golden numbers of published models made again from clones of the originals
# make bench   speed beside torch and diffusers, which are installed into .venv-peers, and of parts: twenty minutes
# make docs   the documentation as a site in build/docs; a broken link is an error
# Each sets itself up on a machine that has python3 (3.11 or newer), pip, git and make.

PYTHON ?= python3
BIN := .venv/bin
# The exact versions that were tested with this Python; without a list, the newest that pyproject.toml allows.
PINNED := $(wildcard constraints/$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(addprefix -c ,$(PINNED))
RUN := runs/digits

.PHONY: demo bench compare compare-short reference docs test pytest test-long test-published lint clean

demo: .venv/runtime
	$(BIN)/python train.py --config configs/digits.py --workdir $(RUN)
	$(BIN)/python sample.py --workdir $(RUN) --out $(RUN)/samples --num 100 --trajectory --animate
	$(BIN)/python evaluate.py --workdir $(RUN)
	@echo
	@echo "Look at   $(RUN)/evaluation/grid.png     samples, one row per class"
	@echo "          $(RUN)/samples/strip.png       the way from noise to digits (animation.gif: the same, moving)"
	@echo "          $(RUN)/evaluation/report.html  the table above with its pictures"
	@echo "          $(RUN)/pictures/               how samples got better while training"
	@echo "Try next  $(BIN)/python sample.py --workdir $(RUN) --out out --label 3 --guidance 2"
	@echo "          $(BIN)/python train.py --config configs/digits.py --workdir $(RUN) --config.train.steps=10000"

compare: .venv/runtime
	$(BIN)/python benchmarks/compare.py --config configs/compare/full.py --workdir runs/compare --publish

compare-short: .venv/runtime
	$(BIN)/python benchmarks/compare.py --config configs/compare/short.py --workdir runs/compare_short

reference: .venv/runtime
	$(BIN)/python docs/make_reference.py

bench: .venv/runtime .venv-peers/torch
	$(BIN)/python benchmarks/performance.py

.venv-peers/torch: benchmarks/workers/requirements.txt
	$(PYTHON) -m venv --clear .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

docs: .venv/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

test: lint pytest

pytest: .venv/dev
	$(BIN)/python -m pytest -n auto --dist loadscope -m "not long"

test-long: .venv/dev
	$(BIN)/python -m pytest -n auto --dist loadscope

test-published: .venv/dev
ifdef ORIGINALS
	$(MAKE) .venv-peers/torch
	.venv-peers/bin/python tests/published/make_golden.py --compare $(ORIGINALS)
else
	@echo "skipped: golden numbers are not made again; give ORIGINALS=DIR, clones of the originals (docs/published.md)"
endif
	$(BIN)/python -m pytest -n auto tests/published

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

.venv/runtime: pyproject.toml $(PINNED)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing diffjax into .venv (about 1 GB, a minute or two) …"
	$(INSTALL) -e .
	touch $@

.venv/dev: .venv/runtime
	$(INSTALL) -e '.[dev]'
	touch $@

.venv/docs: .venv/runtime
	$(INSTALL) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
