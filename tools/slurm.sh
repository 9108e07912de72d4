#!/usr/bin/env bash
# A job of a Slurm cluster: what slurm_train.sh and slurm_test.sh share.
#
#   tools/slurm.sh PARTITION JOB SCRIPT [arguments of the script]
#
# Environment variables set the rest (docs/how_to/launch.md):
#   GPUS           GPUs of the job, one process each; 8 if not set
#   GPUS_PER_NODE  GPUs of a machine; 8, or GPUS if that is less
#   CPUS_PER_TASK  CPU cores of a process; 5 if not set
#   SRUN_ARGS      more arguments of srun, separated by blanks
#   PYTHON         the Python to use
set -euo pipefail

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -r -a more <<<"${SRUN_ARGS:-}"
exec srun --partition "$1" --job-name "$2" \
  --gres "gpu:$per_node" --ntasks "$gpus" --ntasks-per-node "$per_node" \
  --cpus-per-task "${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 \
  ${more[@]+"${more[@]}"} \
  "${PYTHON:-python}" -u "$3" "${@:4}" --launcher slurm
