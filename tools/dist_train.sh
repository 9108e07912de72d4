#!/usr/bin/env bash
# Train on several GPUs, or on CPU cores if there is no GPU:
#
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
#
# torchrun.sh lists the environment variables that are read.
set -euo pipefail

if (($# < 2)); then
  echo "usage: $0 CONFIG PROCESSES [arguments of tools/train.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$tools/torchrun.sh" "$2" \
  "$tools/train.py" "$1" --launcher pytorch "${@:3}"
