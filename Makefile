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

.PHONY: help setup sim test test-faults test-slow check format bench-stack bench-execution bench-knobs record-expert teleop doctor soak record replay report convert generate norm-stats train demo-policy evaluate evaluate-fast evaluate-offline docs lerobot-env lock clean

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

# What the shipped policy was made with; the options are explained in docs/training.md.
DEMO := runs/demo_policy
WORKERS ?= $(shell nproc)
DEMO_DATA := --data.val-fraction 0.02 --assets-base $(DEMO)/assets
DEMO_TRAIN = $(DEMO_DATA) --checkpoint-base $(DEMO)/checkpoints --loader.cache $(DEMO)/cache \
	--loader.workers $(WORKERS) --save-interval 5000 --keep-period 5000 --validation.plots 0 \
	--optimizer.warmup-steps 200
DEMO_STAGE = tools/run python -m trossen_pi0_training.train sim_handover $(DEMO_TRAIN)

demo-policy: setup  ## make the shipped policy anew: data, three stages of training, evaluation (a GPU, half an hour)
	tools/run python -m trossen_pi0_training.generate --repo-id local/sim_handover --format v3.0 \
		--episodes 1200 --beginnings 8000 --variants all --looks 0.3 --camera-rate 15 \
		--cameras cam_high,cam_left_wrist,cam_right_wrist --codec h264_fast --width 224 --height 168 \
		--workers $(WORKERS)
	tools/run python -m trossen_pi0_training.norm_stats sim_handover $(DEMO_DATA)
	$(DEMO_STAGE) --exp-name look --time-shift 20 --max-prefix 0 --num-train-steps 3000 \
		--optimizer.decay-steps 3000 --optimizer.peak-lr 6e-4 --optimizer.decay-lr 2e-4
	$(DEMO_STAGE) --exp-name act --weights $(DEMO)/checkpoints/sim_handover/look --time-shift 4 \
		--num-train-steps 7116 --optimizer.decay-steps 60000 --optimizer.peak-lr 4e-4 --optimizer.decay-lr 1e-5
	$(DEMO_STAGE) --exp-name settle --weights $(DEMO)/checkpoints/sim_handover/act --time-shift 4 \
		--num-train-steps 20000 --optimizer.decay-steps 20000 --optimizer.peak-lr 4e-4 --optimizer.decay-lr 1e-5
	tools/run python -m trossen_pi0_policy merge --checkpoint $(DEMO)/checkpoints/sim_handover/settle \
		--output $(DEMO)/sim_handover --dtype float32
	tools/run python -m trossen_pi0_training.evaluate --checkpoint $(DEMO)/sim_handover --episodes 100 \
		--workers $(WORKERS) --output $(DEMO)/evaluation

evaluate: setup  ## judge a policy on the whole simulated stack: make evaluate CHECKPOINT=... EPISODES=10 SEED=1000000
	@exec tools/run python -m trossen_pi0_bringup.evaluation backend:=pi0 checkpoint:='$(or $(CHECKPOINT),shipped://sim_handover)' episodes:=$(or $(EPISODES),10) seed:=$(or $(SEED),1000000) $(ARGS)

evaluate-fast: setup  ## the same in virtual time, without ROS: make evaluate-fast CHECKPOINT=... EPISODES=100
	@exec tools/run python -m trossen_pi0_training.evaluate --checkpoint '$(or $(CHECKPOINT),shipped://sim_handover)' --episodes $(or $(EPISODES),100) --seed $(or $(SEED),1000000) $(ARGS)

evaluate-offline: setup  ## judge a policy on recorded episodes: make evaluate-offline EPISODES=episodes CHECKPOINT=...
	@exec tools/run python -m trossen_pi0_training.offline --episodes '$(EPISODES)' --checkpoint '$(CHECKPOINT)' $(ARGS)

lerobot-env:  ## make an environment with lerobot and torch: make lerobot-env ARGS=v2.1 (v3.0)
	@$(BOOTSTRAP) lerobot-env $(ARGS)

lock:  ## write requirements/*.lock anew from *.in; UPGRADE=1 takes the newest versions
	@$(BOOTSTRAP) lock $(if $(UPGRADE),--upgrade)

clean:  ## remove the environment, the build and the caches
	@$(BOOTSTRAP) clean
