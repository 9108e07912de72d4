#!/usr/bin/env bash
# Test on several GPUs, or on CPU cores if there is no GPU:
#
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
#
# torchrun.sh lists the environment variables that are read.
set -euo pipefail

if (($# < 3)); then
  echo "usage: $0 CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$tools/torchrun.sh" "$3" \
  "$tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
