#!/usr/bin/env bash
# Checks, measures and trains on a machine with a GPU, in three parts.
#
#   benchmarks/gpu.sh [--small] [1] [2] [3]
#
#   1  whether it is right: benchmarks.checks
#   2  the filters by themselves: benchmarks.op, after all of their kernels
#      were compiled, in parallel, and whole mixers: benchmarks.mixers
#   3  the demo's classifier in three precisions and its detector with mixed
#      precision, of which only the first one is alone on the GPU, then whole
#      models: benchmarks.backbones, profile, valid_sizes and boundary
#
# Needs PyTorch, timm, mmengine and, for part 3, the toolboxes; of mmcv the
# light operators suffice (python -m mmfft.mmcv_ops light). A part ends within
# MINUTES. A stage that takes longer than its share is ended, and the next one
# runs. What each stage prints is in OUT/logs, its rows are in OUT/STAGE, and
# OUT/stages.jsonl has one line for each stage. The exit status is 1 if one
# failed.
#
#   --small   rehearse everything in a few minutes, also without a GPU
#   MINUTES   of each part (default: 9)
#   OUT       folder of the results (default: work_dirs/gpu)
#   PYTHON    the Python to use (default: python)
set -uo pipefail
export LC_ALL=C

MINUTES=${MINUTES:-9} OUT=${OUT:-work_dirs/gpu} PYTHON=${PYTHON:-python}
SMALL=
if [[ ${1:-} == --small ]]; then
  SMALL=--small
  shift
fi
parts=("$@")
[[ $# -gt 0 ]] || parts=(1 2 3)

# Stages run in other folders.
if [[ $PYTHON == */* ]]; then
  PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")
fi
mkdir -p "$OUT/logs" || exit
OUT=$(cd "$OUT" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
ROOT=$PWD
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
# Each of three processes that compile would start one for each processor.
export TORCHINDUCTOR_COMPILE_THREADS=5
: >"$OUT/stages.jsonl"

# All times are in milliseconds, which bash can count.
PART=$(awk -v minutes="$MINUTES" 'BEGIN { printf "%d", 60000 * minutes }')
# Between the request to end and the end, also at the end of a part.
GRACE=$((PART / 36))

now() { echo $((${EPOCHREALTIME/./} / 1000)); }

seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); }

# Time for a stage: its share, in ninths of the part, or what is left.
limit() {
  local share=$((PART * $1 / 9)) left=$((END - GRACE - $(now)))
  echo $((left < 0 ? 0 : share < left ? share : left))
}

note() {
  printf '{"stage": "%s", "status": "%s", "seconds": %s}\n' "$@" |
    tee -a "$OUT/stages.jsonl"
}

# stage NAME NINTHS COMMAND...
stage() {
  local name=$1 limit start status
  limit=$(limit "$2") start=$(now)
  if [[ $limit == 0 ]]; then
    note "$name" 'left out' 0.0
    return
  fi
  timeout -k "$(seconds "$GRACE")" "$(seconds "$limit")" "${@:3}" \
    >"$OUT/logs/$name.log" 2>&1
  status=$?
  note "$name" "$status" "$(seconds $(($(now) - start)))"
}

PREFIX=()

# bench NAME NINTHS MODULE ARGUMENTS...: ends by itself, a little earlier.
bench() {
  local limit
  limit=$(limit "$2")
  stage "$1" "$2" "${PREFIX[@]}" "$PYTHON" -m "benchmarks.$3" --out "$OUT/$1" \
    --minutes "$(seconds $((limit * 8 / 600)))" "${@:4}"
}

train() {
  stage "$1" "$2" "$PYTHON" "$ROOT/tools/train.py" "$ROOT/configs/demo/$3" \
    --work-dir "work_dirs/demo/$1" "${@:4}"
}

part_1() {
  local grid grids=(14x14 7x7 28x28 56x56 13x6 1x1 32x28 25x42 50x84 33x4
    64x64 100x168 200x336 128x128)
  local model models=(cdfformer_s18 dfformer_s18 gfnet-h-ti)
  [[ -z $SMALL ]] || grids=(6x5) models=(cdfformer)
  for grid in "${grids[@]}"; do
    bench "filters-$grid" 3 checks $SMALL --threads 1 --only filters \
      --grids "$grid" &
  done
  wait
  for model in "${models[@]}"; do
    bench "$model" 4 checks $SMALL \
      --threads 4 --only models --models "$model" &
  done
  wait
  bench others 3 checks $SMALL --only others
  if command -v compute-sanitizer >/dev/null; then
    PREFIX=(compute-sanitizer --error-exitcode 9)
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 bench sanitizer 2 op \
      --contenders 'mmfft pairs' 'mmfft quadrants' 'mmfft rows' \
      --rounds 0 --sizes 224 64 --batch 1
    PREFIX=()
  fi
}

part_2() {
  local size stage common=() sizes=(224 800x1344 512) stages=(3 4 2 1)
  local bf16=(--dtype bfloat16 --tf32)
  if [[ $SMALL ]]; then
    sizes=(64) stages=(3) common=(--batch 1 --threads 1)
  fi
  for size in "${sizes[@]}"; do
    for stage in "${stages[@]}"; do
      compile "$size" "$stage" &
    done
  done
  wait
  [[ -z $SMALL ]] || common+=(--rounds 1)
  # In the order of what matters.
  common+=(--sizes "${sizes[@]}" --stages "${stages[@]}")
  bench op-bf16 3 op "${bf16[@]}" "${common[@]}"
  bench mixers-bf16 1 mixers "${bf16[@]}" "${common[@]}"
  bench op-tf32 2 op --tf32 "${common[@]}"
  bench op-fp32 2 op "${common[@]}"
}

# All kernels of a grid, of which part_2 then finds the results in a cache.
compile() {
  local case=("${common[@]}" --threads 1 --rounds 0 --sizes "$1" --stages "$2")
  bench "compile-$1-$2-bf16" 2 op "${bf16[@]}" "${case[@]}"
  [[ -z $SMALL ]] || return
  bench "compile-$1-$2-tf32" 1 op --tf32 "${case[@]}"
  bench "compile-$1-$2-fp32" 1 op "${case[@]}"
}

part_3() {
  local amp=() bf16=() data=() short=() valid=() model
  local crops=cdfformer-nano_1xb32-6e_digit-crops.py
  local scenes=mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py
  local common=(--channels-last --rounds 3)
  # The order is that of what matters; each size has the peers to beat there.
  local compiled=(dfformer_s18 cdfformer_s18 convformer_s18)
  local at_512=('plain dfformer_s18' dfformer_s18 cdfformer_s18 caformer_s18
    convformer_s18)
  local at_800=('plain dfformer_s18' dfformer_s18 cdfformer_s18
    swin_tiny_patch4_window7_224 convnext_tiny)
  local at_224=("${at_800[@]}" 'plain cdfformer_s18' 'plain gfnet-h-ti'
    gfnet-h-ti caformer_s18 convformer_s18)
  local profiled=(dfformer_s18 swin_tiny_patch4_window7_224 convnext_tiny)
  local size=(224 512 800x1344) batch=(--batch 64)
  local jit=(--compile reduce-overhead)
  if "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'
  then
    amp=(--amp) bf16=(optim_wrapper.dtype=bfloat16)
  fi
  if [[ $SMALL ]]; then
    data=(--train-scenes 4 --val-scenes 2 --train-crops 32 --val-crops 20)
    short=(train_cfg.max_epochs=2)
    valid=(--sizes 64x48 48x64 --rounds 1 --threads 1)
    common=(--channels-last --rounds 1 --threads 1 --batch 1)
    size=(64 64 64) batch=() jit=() compiled=(cdfformer_s18)
    at_224=(cdfformer_s18) at_512=(cdfformer_s18) at_800=(cdfformer_s18)
    profiled=(cdfformer_s18)
  fi
  mkdir -p "$OUT/demo" && cd "$OUT/demo" || return
  # Made elsewhere, where the sources of the pictures are not installed.
  if [[ -z $SMALL && -d $ROOT/data/digit_scenes ]]; then
    ln -sfn "$ROOT/data" data
  fi
  stage data 1 "$PYTHON" "$ROOT/tools/dataset_converters/digit_scenes.py" \
    "${data[@]}"
  # Alone: its time is compared with that on a CPU.
  train cls 3 "$crops" --cfg-options randomness.seed=0 "${short[@]}"
  train cls-fp16 3 "$crops" "${amp[@]}" --cfg-options randomness.seed=0 \
    "${short[@]}" &
  train cls-bf16 3 "$crops" "${amp[@]}" --cfg-options randomness.seed=0 \
    "${short[@]}" "${bf16[@]}" &
  train det 3 "$scenes" "${amp[@]}" --cfg-options "${short[@]}" \
    model.backbone.init_cfg.checkpoint="$(cat \
      work_dirs/demo/cls/last_checkpoint 2>/dev/null)" &
  cd "$ROOT" || return
  # Their graphs, which the same calls find in a cache below.
  for model in "${compiled[@]}"; do
    backbones "compile-$model" 3 "${size[0]}" "${jit[@]}" "${batch[@]}" \
      --rounds 0 --models "$model" &
  done
  wait
  rm -rf "$OUT/demo/data"
  backbones backbones-224 2 "${size[0]}" --models "${at_224[@]}"
  backbones backbones-512 1 "${size[1]}" --models "${at_512[@]}"
  backbones backbones-800x1344 1 "${size[2]}" --models "${at_800[@]}"
  backbones backbones-compiled 2 "${size[0]}" "${jit[@]}" "${batch[@]}" \
    --models "${compiled[@]}"
  bench profile 1 profile --dtype bfloat16 "${common[@]}" \
    --sizes "${size[2]}" --models "${profiled[@]}"
  bench backbones-tf32 1 backbones --tf32 "${common[@]}" \
    --sizes "${size[0]}" --models "${at_224[@]}"
  bench valid-sizes 1 valid_sizes "${valid[@]}"
  bench boundary 1 boundary --dtype bfloat16 "${common[@]:1}" \
    --sizes "${size[0]}"
}

# backbones NAME NINTHS SIZE ARGUMENTS...: in bfloat16.
backbones() {
  bench "$1" "$2" backbones --dtype bfloat16 "${common[@]}" --sizes "$3" \
    "${@:4}"
}

for part in "${parts[@]}"; do
  END=$(($(now) + PART))
  "part_$part"
done
! grep -qv '"status": "0"' "$OUT/stages.jsonl"
