# One target per habit; `make help` lists them. All but help, clean, lock and lerobot-env make the
# environment first, which does nothing when it is up to date.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The interpreter the environment is made from: the one it has, python3 for a new one.
PYTHON ?= $(or $(realpath .venv/bin/python),python3)
ARGS ?=

BOOTSTRAP := $(PYTHON) tools/bootstrap.py
# Tests compile many programs that run for a moment: optimising them takes longer than it saves.
PYTEST := XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" \
	tools/run python -m pytest

.PHONY: help setup sim test test-faults test-slow check format bench-stack bench-execution bench-knobs record-expert teleop doctor soak record replay report convert generate norm-stats train evaluate evaluate-fast evaluate-offline docs lerobot-env lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-15s %s\n' "$$name" "$$text"; done

setup:  ## make the environment and build the workspace; PYTHON=python3.12 chooses
	@$(BOOTSTRAP) setup

sim: setup  ## run the simulated robot: make sim ARGS="prompt:='grab the red cube' seed:=3"
	@exec tools/run python -m trossen_pi0_bringup.sim $(ARGS)

bench-stack: setup  ## measure latency, jitter, CPU and lost pictures of the running stack
	@exec tools/run python -m trossen_pi0_bringup.bench $(ARGS)

bench-execution: setup  ## compare blocking, async and rtc at inference delays: table and plot in docs/
	@exec tools/run python -m trossen_pi0_bringup.execution_bench $(ARGS)

bench-knobs: setup  ## set each live parameter during a run and measure it: table in docs/tuning.md
	@exec tools/run python -m trossen_pi0_bringup.knob_bench document:=docs/tuning.md $(ARGS)

record-expert: setup  ## record the scripted expert in simulation: make record-expert N=50 SEED=0
	@exec tools/run python -m trossen_pi0_bringup.record_expert episodes:=$(or $(N),50) seed:=$(or $(SEED),0) $(ARGS)

teleop: setup  ## simulated leader arms lead the simulated kit: make teleop ARGS="duration_s:=20"
	@exec tools/run python -m trossen_pi0_bringup.teleop $(ARGS)

doctor: setup  ## look at arms, cameras, server, disk before a run: make doctor ARGS="sim:=false ..."
	@exec tools/run python -m trossen_pi0_bringup.doctor $(ARGS)

soak: setup  ## run the simulated kit for an hour and watch for leaks: make soak ARGS="minutes:=60"
	@exec tools/run python -m trossen_pi0_bringup.soak $(ARGS)

record: setup  ## begin and end episodes by keys, while a recorder runs (record:=true)
	@exec tools/run python -m trossen_pi0_data.keyboard $(ARGS)

replay: setup  ## replay an episode: make replay EPISODE=FOLDER ARGS="rate:=2.0", or "mode:=actions"
	@exec tools/run python -m trossen_pi0_bringup.replay episode:='$(EPISODE)' $(ARGS)

check: setup  ## format, lint, types and the tests that need no ROS
	tools/run ruff format --check
	tools/run ruff check
	tools/run hadolint docker/*.Dockerfile
	@tools/run basedpyright > .toolchain/types.txt 2>&1 & types=$$!; \
	$(PYTEST) -m "not slow" tools/test/unit ros2_ws/src/*/test/unit training/test/unit $(ARGS); tests=$$?; \
	wait $$types; typed=$$?; echo basedpyright; cat .toolchain/types.txt; exit $$((tests || typed))

test: setup  ## all tests but the slow ones: nodes, simulated robot, tools
	$(PYTEST) -m "not slow" $(ARGS)

test-faults: setup  ## break the running stack in a hundred ways; prints a table
	$(PYTEST) --verbose ros2_ws/src/trossen_pi0_bringup/test/faults $(ARGS)

test-slow: setup  ## the slow tests
	$(PYTEST) -m slow $(ARGS)

format: setup  ## format the code and repair what the linter can
	tools/run ruff check --fix-only
	tools/run ruff format

docs: setup  ## write the reference pages of docs/ from the code
	@cd tools && ./run python -m references

report: setup  ## look at episodes or a data set: make report DATASET=episodes
	@exec tools/run python -m trossen_pi0_training.report '$(DATASET)' $(ARGS)

convert: setup  ## make a LeRobot data set: make convert EPISODES=episodes REPO_ID=lab/handover ARGS="--format v2.1"
	@exec tools/run python -m trossen_pi0_training.convert --episodes '$(EPISODES)' --repo-id '$(REPO_ID)' $(ARGS)

generate: setup  ## make a data set of the simulated expert: make generate REPO_ID=local/sim_handover EPISODES=200
	@exec tools/run python -m trossen_pi0_training.generate --repo-id '$(REPO_ID)' --episodes $(or $(EPISODES),50) $(ARGS)

norm-stats: setup  ## work out norm stats: make norm-stats CONFIG=pi0_trossen_transfer_block
	@exec tools/run python -m trossen_pi0_training.norm_stats '$(CONFIG)' $(ARGS)

train: setup  ## fine-tune: make train CONFIG=pi0_trossen_transfer_block EXP=first ARGS=--resume
	@exec tools/run python -m trossen_pi0_training.train '$(CONFIG)' --exp-name '$(EXP)' $(ARGS)

evaluate: setup  ## judge a policy on the whole simulated stack: make evaluate CHECKPOINT=... EPISODES=10 SEED=1000000
	@exec tools/run python -m trossen_pi0_bringup.evaluation backend:=pi0 checkpoint:='$(CHECKPOINT)' episodes:=$(or $(EPISODES),10) seed:=$(or $(SEED),1000000) $(ARGS)

evaluate-fast: setup  ## the same in virtual time, without ROS: make evaluate-fast CHECKPOINT=... EPISODES=100
	@exec tools/run python -m trossen_pi0_training.evaluate --checkpoint '$(CHECKPOINT)' --episodes $(or $(EPISODES),100) --seed $(or $(SEED),1000000) $(ARGS)

evaluate-offline: setup  ## judge a policy on recorded episodes: make evaluate-offline EPISODES=episodes CHECKPOINT=...
	@exec tools/run python -m trossen_pi0_training.offline --episodes '$(EPISODES)' --checkpoint '$(CHECKPOINT)' $(ARGS)

lerobot-env:  ## make an environment with lerobot and torch: make lerobot-env ARGS=v2.1 (v3.0)
	@$(BOOTSTRAP) lerobot-env $(ARGS)

lock:  ## write requirements/*.lock anew from *.in; UPGRADE=1 takes the newest versions
	@$(BOOTSTRAP) lock $(if $(UPGRADE),--upgrade)

clean:  ## remove the environment, the build and the caches
	@$(BOOTSTRAP) clean
