# Rampart's commands. `make demo` and `make test` need nothing but Debian, make and git; each step says in one line how it
# went, and what it printed is in build/logs/.
#
#   make demo         a bare host through the five phases, a question answered, a report
#   make test         lint unit supply-chain vm sanity molecule
#   make clean        take everything away again
#
#   make venv         the tool chain alone
#   make lint         yamllint, ansible-lint, ruff, mypy, playbooks found in three ways, build and install
#   make unit         unit tests
#   make supply-chain tampering, cuts, approvals and promotion by their plays, a real ClamAV, a short fuzz run
#   make vm           what needs a kernel or disks of its own: fs-verity, AppArmor, encrypted volumes
#   make fuzz         the GGUF reader, seconds=600
#   make sanity       ansible-test sanity, without an ignore file
#   make molecule     the laboratory's hosts through the five phases, and what is tested there
#   make phases, incident, core219, held, contract, mutations, watch, redteam    parts of it, on a laboratory that is up
#   make bench        benchmarks beside named peers, in build/bench/summary.txt
#   make up, down     the laboratory alone
#   make lock, changelog    requirements and release notes anew

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

root := $(CURDIR)
export PATH := $(root)/.venv/bin:$(PATH)
export RAMPART_CACHE ?= $(HOME)/.cache/rampart
export ANSIBLE_CONFIG := $(root)/ansible.cfg
# A directory of this checkout's own for kept SSH connections, so that `make down` closes these and no others. Not in the
# checkout: a socket's path must be short.
export ANSIBLE_SSH_CONTROL_PATH_DIR := $(HOME)/.ansible/cp/rampart-$(shell printf %s '$(root)' | sha256sum | cut -c1-8)
# Started from anywhere, Ansible finds its collections here and nowhere else.
export ANSIBLE_COLLECTIONS_PATH := $(root)/.collections
# Its working directory, which `make clean` takes away with the rest.
export MOLECULE_EPHEMERAL_DIRECTORY := $(root)/build/molecule
# Output goes to files: no colours, no questions.
export ANSIBLE_FORCE_COLOR := 0
export NO_COLOR := 1
export PYTHONUNBUFFERED := 1
export PYTHONDONTWRITEBYTECODE := 1

step := scripts/step
lab := .venv/bin/python tests/lab/lab.py
lab_env := DOCKER_HOST=unix://$(root)/.lab/docker.sock
hosts ?= d13,d12

.PHONY: help venv lock changelog lint unit supply-chain fuzz vm sanity molecule phases incident core219 held contract mutations watch redteam demo test bench up down clean

help:
	@sed -n 's/^#   //p' Makefile

venv:
	@$(step) 'tool chain' scripts/bootstrap

lock:
	@$(step) 'lock' scripts/lock

changelog: venv
	@$(step) 'changelog' scripts/changelog

lint: venv
	@failed=0; \
	$(step) 'lint yamllint' yamllint --strict . || failed=1; \
	$(step) 'lint ansible-lint' ansible-lint --profile production --offline --strict || failed=1; \
	$(step) 'lint ruff' ruff check . || failed=1; \
	$(step) 'lint mypy' scripts/typecheck || failed=1; \
	$(step) 'lint playbooks three ways' scripts/playbooks_three_ways || failed=1; \
	$(step) 'lint build and install' scripts/build_install || failed=1; \
	exit $$failed

unit: venv
	@$(step) 'unit' pytest

# What the supply chain claims in figures: tampering found each time, cuts survived, hostile files read safely, ClamAV asked.
supply-chain: venv
	@failed=0; \
	$(step) 'supply chain' pytest tests/supply_chain tests/integration/approvals tests/integration/promotion || failed=1; \
	$(step) 'scan by a real ClamAV' pytest tests/scan || failed=1; \
	$(MAKE) --no-print-directory fuzz seconds=20 || failed=1; \
	exit $$failed

vm: venv
	@failed=0; \
	$(step) 'fs-verity in a virtual machine' python tests/vm/fsverity/run.py || failed=1; \
	$(step) 'AppArmor in a virtual machine' python tests/vm/apparmor/run.py || failed=1; \
	$(step) 'encrypted volumes on loop devices' pytest tests/integration/disk || failed=1; \
	exit $$failed

fuzz: venv
	@$(step) 'fuzz GGUF' python tests/fuzz/fuzz_gguf.py --seconds $(or $(seconds),600) --corpus build/fuzz/corpus

sanity: venv
	@$(step) 'sanity programs' scripts/bootstrap shellcheck
	@$(step) 'sanity' scripts/sanity

up: venv
	@$(step) 'laboratory' $(lab) up --hosts $(hosts)

# One scenario, step by step, so that each has its line; `molecule test` runs the same sequence.
molecule: venv
	@$(step) 'molecule destroy what was left' molecule destroy
	@$(step) 'molecule create' molecule create
	@$(step) 'molecule images' molecule prepare
	@$(step) 'molecule check on bare hosts' molecule check
	@$(step) 'molecule converge' molecule converge
	@$(step) 'molecule idempotence' molecule idempotence
	@$(step) 'molecule verify' molecule verify
	@$(MAKE) --no-print-directory phases incident core219 held contract mutations watch redteam
	@$(step) 'molecule destroy' molecule destroy

phases: venv
	@$(step) 'phases and bad input' env $(lab_env) pytest tests/integration/phases tests/integration/bad_input

incident: venv
	@$(step) 'incident' env $(lab_env) pytest tests/integration/incident

core219: venv
	@$(step) 'site.yml on ansible-core 2.19' env $(lab_env) scripts/older_core d12

held: venv
	@$(step) 'isolation without rules or engine' env $(lab_env) pytest tests/integration/held

# These use the laboratory that is up (make up, make demo or make molecule made it).
contract: venv
	@$(step) 'contract' env $(lab_env) pytest tests/contract

mutations: venv
	@$(step) 'mutations' env $(lab_env) pytest tests/mutations

watch: venv
	@$(step) 'watch' env $(lab_env) pytest tests/watch

redteam: venv
	@$(step) 'red team' env $(lab_env) pytest tests/red_team

demo: venv
	@scripts/demo

test:
	@failed=0; \
	for target in lint unit supply-chain vm sanity molecule; do \
		$(MAKE) --no-print-directory $$target || failed=1; \
	done; \
	exit $$failed

bench: venv
	@$(step) 'bench' env $(lab_env) python tests/benchmarks/run.py
	@cat build/bench/summary.txt

down:
	@$(step) 'laboratory down' scripts/teardown

clean: down
	@scripts/clean
