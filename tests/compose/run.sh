#!/usr/bin/env bash
# Brings docker-compose.yml up for real, with its demo, and tests it: `make test-compose`.
#
# ONLY=postgres brings up that profile alone (demo, scheduled, notebook, postgres).
# With a Docker engine the images are those that the file names; without one, stand-ins (see engine.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."

tests=(tests/compose/bring_up_${ONLY:-*}.py)

if docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
  export COMPOSE="docker compose" ENGINE=docker
  docker compose --profile demo --profile scheduled --profile notebook --profile postgres build
else
  settings=$(tests/compose/engine.sh up)
  trap 'tests/compose/engine.sh down' EXIT
  set -a
  eval "$settings"
  set +a
fi
.venv/bin/python -m pytest "${tests[@]}" "$@"
