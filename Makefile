# Two commands on a bare machine: `make results` and `make test`. They need python3 >= 3.11 and make.
PYTHON ?= python3
BENCHMARK ?= synth4d
JOBS ?= 2
RUN = PATH="$(CURDIR)/.venv/bin:$$PATH" PYTHONDONTWRITEBYTECODE=

.PHONY: results test check format lock clean

results: ## run the default benchmark (BENCHMARK=synth4d-test for the full one) and print its table
	@$(PYTHON) tools/install.py core
	@$(RUN) snakemake --cores all --quiet rules --config benchmarks=[$(BENCHMARK)]
	@cat results/$(BENCHMARK)/table.txt
	@echo "Pages: results/$(BENCHMARK)/site/index.html"

test: ## all checks and all tests (JOBS=2 processes; a file's tests stay together, they share what is slow to make)
	@$(PYTHON) tools/install.py core
	@$(PYTHON) tools/install.py test
	@$(RUN) $(MAKE) --no-print-directory check
	@$(RUN) python -m pytest -n $(JOBS) --dist loadfile

check: ## formatting, lint, types, workflow lint, repository size
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	python tools/repository_size.py

format:
	ruff check --fix . && ruff format . && snakefmt Snakefile workflow/rules

lock: ## resolve requirements/*.in anew (needs uv)
	for level in core ss4d metrics figures test; do uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
	  --override requirements/without-torch.txt -q requirements/$$level.in -o requirements/$$level.txt; done

clean: ## results and intermediate files; the environment and downloaded weights stay
	rm -rf results/synth4d* results/menagerie* results/*/features .snakemake
