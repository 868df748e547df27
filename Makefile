# Two commands do everything: `make demo` and `make test`. The plain lines behind them are in the README.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo demo-overlap demo-lookalike compose-demo test check proto lock bench-round bench-recovery bench-segments bench-rfm bench-lookalike bench-ranking bench-overlap bench-ledger torture-round torture-ledger mutants guards long-ledger long-overlap fuzz fuzz-atheris mutation-ledger bench-checkpoints other-readers clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "sumroom needs Python 3.11 to 3.13"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: install
	$(BIN)/python examples/complete_journey/demo.py

# How many people two lists of e-mail addresses share. LISTS="LEFT.csv RIGHT.csv": of these; else of made-up ones.
demo-overlap: install
	$(BIN)/python examples/email_overlap/run.py $(LISTS)

# Who in one file of customers buys like those in another. FILES="ADVERTISER.csv PUBLISHER.csv": of these; else made up.
demo-lookalike: install
	$(BIN)/python examples/lookalike/run.py $(FILES)

# The first plan of demo in containers, with a Docker engine or podman: docs/containers.md. KEEP=1: the volumes stay until the next run.
compose-demo: install
	$(BIN)/python examples/complete_journey/compose.py $(if $(KEEP),--keep)

# Two at a time; WORKERS=0: one after the other, in this process.
WORKERS ?= 2
test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Format, lint, types, the map of the house, and whether generated code is what its source says.
check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	sh protocols/carrier/regenerate.sh --check

proto: install
	sh protocols/carrier/regenerate.sh

# The lock: hashes, no addresses. uv comes with flwr.
lock: install
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock

# QUICK=1: fewer rounds, no 200 MB.
bench-round: install
	$(BIN)/python tests/benchmarks/bench_round.py

# What it costs to finish a step without some of its parties. QUICK=1: once each.
bench-recovery: install
	$(BIN)/python tests/benchmarks/bench_recovery.py

# Joint segments beside scikit-learn, FastLloyd, Google's and diffprivlib, which pip puts below build/. DATA=folder of the
# public sets; without it they are skipped. QUICK=1: fewer sets, runs and ε. What it printed last: docs/benchmarks.md.
bench-segments: install
	DATA=$(DATA) $(BIN)/python tests/benchmarks/bench_segments.py

# Scores and cohorts of recency, frequency and monetary on the demo's data and, where DATA names its folder, on CDNOW.
bench-rfm: install
	DATA=$(DATA) $(BIN)/python tests/benchmarks/bench_rfm.py

# People like a seed beside pooled gradient boosting, logistic regression, and other private ways. DATA=folder of the public
# sets; without it they are skipped. QUICK=1: few splits, two parties, ε = 1.
bench-lookalike: install
	DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_lookalike.py

# An owner's people ranked by a released score, features given: CPU and memory. QUICK=1: a hundred thousand.
bench-ranking: install
	$(BIN)/python tests/benchmarks/bench_ranking.py

# People whom two lists share: our CPU and bytes beside openmined-psi and spu, which pip puts below build/. QUICK=1: 2^14.
bench-overlap: install
	$(BIN)/python tests/benchmarks/bench_overlap.py

# Rounds of real processes under kill -9, bad networks and full disks. QUICK=1: few rounds. See docs/torture.md.
torture-round: install
	$(BIN)/python -m tests.torture.run $(TORTURE)

# The ledger under kill -9, power loss, failing disks, races, tampering and forks. QUICK=1: a minute. See docs/torture.md.
torture-ledger: install
	$(BIN)/python -m tests.torture_ledger.run $(TORTURE)

# What the ledger does in a second, beside other logs; what an audit costs. QUICK=1: a smaller ledger.
bench-ledger: install
	$(BIN)/python tests/benchmarks/bench_ledger.py

# The ledger and its witnesses against a naive model: 50,000 random operations, 10,000 changes of the room. STEPS=1000: fewer.
long-ledger: install
	$(BIN)/python -m tests.ledger.long

# An overlap of two parties with a million people each, between real processes, against the truth; memory. PEOPLE=100000: fewer.
PEOPLE ?= 1000000
long-overlap: install
	$(BIN)/python -m tests.overlap.million --people $(PEOPLE)

# Every reader of bytes against documents that are almost right. EXAMPLES=2000: fewer of each.
fuzz: install
	$(BIN)/python -m tests.fuzz.long

# One reader (NAME=entry) under a fuzzer that sees which branches it reaches; in an environment of its own.
fuzz-atheris: install
	test -d .atheris || $(BIN)/python -m pip install --quiet --no-deps --target .atheris atheris
	PYTHONPATH=.atheris:. $(BIN)/python -m tests.fuzz.with_atheris

# What the second key of every member costs on a checkpoint: bytes and time.
bench-checkpoints: install
	$(BIN)/python tests/benchmarks/bench_checkpoints.py

# Checkpoints and proofs, read by aics-tlog and proofbundle. They need Python 3.12: OTHER_PYTHON=/path/to/python3.12.
OTHER_PYTHON ?= python3.12
OTHER := build/other-readers

other-readers: install
	$(OTHER_PYTHON) -m venv $(OTHER)
	$(OTHER)/bin/python -m pip install --quiet aics-tlog==0.2.1 proofbundle==6.3.1 'cryptography>=48'
	SUMROOM_OTHER_READERS=$(OTHER)/bin/python $(BIN)/python -m pytest tests/ledger/test_other_readers.py

# Break a copy of the product on purpose, one patch at a time: the tests must notice. QUICK=1: fewer tests a patch.
mutants: install
	$(BIN)/python tests/mutants/run.py

# Every small change of the ledger's rules, of what a release costs, and of verify.py: some test must see it.
mutation-ledger: install
	$(BIN)/python -m tests.mutation.run

# The same for every guard: what stops an attacker, what refuses bad input.
guards: install
	$(BIN)/python tests/mutants/run.py --in tests/guards

clean:
	rm -rf .venv .atheris .room .two-lists .lookalike .compose demo-output overlap-output lookalike-output build .grpc-tools
