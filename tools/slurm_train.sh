#!/usr/bin/env bash
# Train on a Slurm cluster:
#
#   tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of train.py]
#
# slurm.sh lists the environment variables that are read.
set -euo pipefail

if (($# < 4)); then
  echo "usage: $0 PARTITION JOB CONFIG WORK_DIR [arguments of train.py]" >&2
  exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec bash "$tools/slurm.sh" "$1" "$2" \
  "$tools/train.py" "$3" --work-dir "$4" "${@:5}"
