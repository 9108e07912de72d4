#!/usr/bin/env bash
# One machine's part of a job: what dist_train.sh and dist_test.sh share.
#
#   tools/torchrun.sh PROCESSES SCRIPT [arguments of the script]
#
# Environment variables set the rest (docs/how_to/launch.md):
#   NNODES        machines of the job, 1 if not set
#   NODE_RANK     which of them this is, from 0
#   MASTER_ADDR   address of machine 0; PORT: a free port of it, 29500 if not
#                 set. A single machine finds a free port by itself.
#   MAX_RESTARTS  how often all processes are restarted after one has failed
#   PYTHON        the Python to use
set -euo pipefail

machines=${NNODES:-1}
rank=${NODE_RANK:-0}
address=${MASTER_ADDR:-127.0.0.1}
port=${PORT:-29500}
restarts=${MAX_RESTARTS:-0}

if [[ $machines == 1 && -z ${PORT:-} ]]; then
  # localhost, so that the machine's own name need not be resolved.
  meeting=(--standalone --local-addr localhost)
elif [[ $restarts == 0 ]]; then
  meeting=(--node-rank "$rank" --master-addr "$address" --master-port "$port")
else
  # Ranks that are fixed in advance do not survive a restart on two machines,
  # nor does the store that torchrun shares with its processes: those of a
  # machine without a failure would look for the others at old addresses.
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  host=$([[ $rank == 0 ]] && echo true || echo false)
  meeting=(
    --rdzv-backend c10d --rdzv-id "$port" --rdzv-endpoint "$address:$port"
    --rdzv-conf "is_host=$host,join_timeout=900,read_timeout=900"
  )
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec "${PYTHON:-python}" "$tools/torchrun.py" "${meeting[@]}" \
  --nnodes "$machines" --nproc-per-node "$1" --max-restarts "$restarts" "${@:2}"
