#!/usr/bin/env bash
# Test on a Slurm cluster:
#
#   tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT [arguments of test.py]
#
# slurm.sh lists the environment variables that are read.
set -euo pipefail

if (($# < 4)); then
  echo "usage: $0 PARTITION JOB CONFIG CHECKPOINT [arguments of test.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$tools/slurm.sh" "$1" "$2" "$tools/test.py" "$3" "$4" "${@:5}"
