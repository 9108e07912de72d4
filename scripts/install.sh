#!/usr/bin/env bash
# Makes the environment that mmfft is developed and tested in, and says before
# what it is about to do. `make install` runs it. Run again, it checks within a
# second that nothing changed. Interrupted, it goes on where it was.
#
#   LINE      onedl, or upstream for the original releases of OpenMMLab
#   PYTHON    the Python to use (default: the first of 3.11, 3.12, 3.10, ...)
#   VENV      where the environment stands, seen from the checkout (default:
#             .venv, or .venv-upstream)
#   MAX_JOBS  compilers at a time (default: one a core, as far as memory goes)
#   --check   only say whether the environment is up to date; change nothing
#
# pip's own configuration and environment variables hold as ever.
#
# GPU: mmcv compiles its CUDA ops by itself where torch sees a GPU and nvcc (of
# the same major version as torch's CUDA) is there. FORCE_CUDA=1 compiles them
# on a machine without a GPU, for one with, and then TORCH_CUDA_ARCH_LIST, such
# as "8.0 9.0", names the GPUs. mmfft itself is the same on both.
set -euo pipefail

HERE=$PWD
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
NEWEST_MINOR=13

# The distributions of the two lines have other names and the same modules.
LINE=${LINE:-onedl}
case $LINE in
onedl) VENV=${VENV:-.venv} MMCV=onedl-mmcv OTHER_MMCV=mmcv ;;
upstream) VENV=${VENV:-.venv-upstream} MMCV=mmcv OTHER_MMCV=onedl-mmcv ;;
*)
    printf 'install: LINE=%s is neither onedl nor upstream\n' "$LINE" >&2
    exit 1
    ;;
esac
PINS=(requirements/tested.txt "requirements/$LINE.txt")

VENV=${VENV%/}
[[ $VENV == /* ]] || VENV=$ROOT/$VENV
PY=$VENV/bin/python
LOG=$VENV/install.log
STAMP=$VENV/mmfft-install.stamp

say() { printf '%s\n' "$*"; }

die() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# ---------------------------------------------------------------- up to date?

# stamp_or_reason: prints nothing where the environment is what this checkout
# asks for, else why it is not. `stamp_or_reason write` notes that it is.
#
# The stamp alone is not worth trusting: an environment may be copied or moved,
# a package installed over ours, a compiled file deleted. All of that is looked
# up on disk; importing torch would take longer than everything else here.
stamp_or_reason() {
    "$PY" -I - "$ROOT" "$STAMP" "${1:-}" "${PINS[@]}" <<'EOF'
import glob, hashlib, importlib.util, os, sys
from importlib.metadata import PackageNotFoundError, version

root, stamp, command, *pins = sys.argv[1:]

def stale(why):
    print(why)
    sys.exit()

digest = hashlib.sha256(sys.version.encode())
digest.update(os.path.realpath(sys.prefix).encode())
digest.update(' '.join(pins).encode())
for name in ['requirements.txt', 'setup.py', 'pyproject.toml',
             'scripts/install.sh', *sorted(glob.glob('requirements/*.txt'))]:
    with open(name, 'rb') as file:
        digest.update(f'\n{name}\n'.encode() + file.read())
digest = digest.hexdigest()

if command == 'write':
    with open(stamp, 'w') as file:
        file.write(digest)
    sys.exit()
if not os.path.exists(stamp):
    stale('no installation was finished here')
with open(stamp) as file:
    if file.read() != digest:
        stale('the requirements, the Python or its place changed')

pins = ''.join(open(name).read() for name in pins).splitlines()
pins = [line.split('#')[0].strip() for line in pins]
for name, _, pin in (line.partition('==') for line in pins if line):
    try:
        found = version(name)
    except PackageNotFoundError:
        stale(f'{name} is missing')
    if found.split('+')[0] != pin:
        stale(f'{name} is {found}, not {pin}')

mmcv = importlib.util.find_spec('mmcv')
if not mmcv or not glob.glob(
        os.path.join(os.path.dirname(mmcv.origin), '_ext*')):
    stale('the compiled ops of mmcv are missing')
mmfft = importlib.util.find_spec('mmfft')
home = mmfft and list(mmfft.submodule_search_locations or [''])[0]
if not home or os.path.realpath(home) != os.path.join(root, 'mmfft'):
    stale(f'mmfft is not installed from here but from {home}')
for name in 'configs', 'tools', 'model-index.yml', 'dataset-index.yml':
    if os.path.exists(name) != os.path.exists(f'mmfft/.mim/{name}'):
        stale(f'mmfft/.mim/{name} does not lead to {name}')
EOF
}

why_stale() {
    if [[ ! -e $PY ]]; then
        say 'there is no environment yet'
    else
        stamp_or_reason 2>/dev/null || say 'its Python does not run'
    fi
}

# ------------------------------------------------------------- system checks

PROBLEMS=0
problem() {
    printf 'install: %s\n' "$*" >&2
    PROBLEMS=$((PROBLEMS + 1))
}

# Prints a Python's minor version, and `-` for each of venv and Python.h that
# it lacks; fails where it does not run or we cannot use it. A name on the PATH
# proves little: pyenv puts its shims there for Pythons that it will not run.
probe() {
    "$1" -I - "$NEWEST_MINOR" 2>/dev/null <<'EOF'
import importlib.util, os, sys, sysconfig
major, minor = sys.version_info[:2]
if major != 3 or not 10 <= minor <= int(sys.argv[1]):
    sys.exit(1)
venv = all(importlib.util.find_spec(name) for name in ('venv', 'ensurepip'))
header = os.path.join(sysconfig.get_path('include'), 'Python.h')
print(minor, 'venv' if venv else '-',
      'headers' if os.path.exists(header) else '-')
EOF
}

# Sets PYTHON, and FACTS to what `probe` says of it.
find_python() {
    local version name
    FACTS=
    if [[ -n ${PYTHON:-} ]]; then
        if FACTS=$(probe "$PYTHON"); then return; fi
        version=$("$PYTHON" -c \
            'import sys; print("%d.%d" % sys.version_info[:2])' \
            2>/dev/null) || version=
        if [[ -n $version ]]; then
            problem "PYTHON=$PYTHON is Python $version; mmfft needs 3.10 to" \
                "3.$NEWEST_MINOR (tested: 3.11)"
        else
            problem "PYTHON=$PYTHON does not run; name a Python 3.10 to" \
                "3.$NEWEST_MINOR, or leave PYTHON away"
        fi
        return
    fi
    # The one of an environment that is there already comes first.
    for name in "$PY" python3.11 python3.12 python3.10 python3.13 python3; do
        PYTHON=$name
        if FACTS=$(probe "$PYTHON"); then return; fi
    done
    problem "no Python 3.10 to 3.$NEWEST_MINOR that runs was found. Debian:" \
        'apt-get install python3 python3-venv python3-dev; Fedora:' \
        'dnf install python3.11 python3.11-devel; or say PYTHON=...'
}

check_system() {
    local minor venv headers compiler place free
    find_python
    if [[ -n $FACTS ]]; then
        read -r minor venv headers <<<"$FACTS"
        if [[ $venv == - ]]; then
            problem "$PYTHON cannot make environments. Debian: apt-get" \
                "install python3.$minor-venv; Fedora: dnf install python3"
        fi
        if [[ $headers == - ]]; then
            problem "$PYTHON has no Python.h, which compiling mmcv needs." \
                "Debian: apt-get install python3.$minor-dev; Fedora: dnf" \
                "install python3.$minor-devel (or python3-devel)"
        fi
    fi
    # CXX may hold more than a name: "ccache g++".
    read -ra compiler <<<"${CXX:-g++}"
    if ! "${compiler[@]}" -x c++ -fsyntax-only - 2>/dev/null \
        <<<'#include <vector>'; then
        problem "no C++ compiler that works (${CXX:-g++}), which compiling" \
            'mmcv needs. Debian: apt-get install g++; Fedora: dnf install' \
            'gcc-c++; or say CXX=...'
    fi
    if [[ -e $VENV && ! -e $VENV/pyvenv.cfg && -n $(ls -A "$VENV") ]]; then
        problem "$VENV is there and is no virtual environment; move it away" \
            'or say VENV=...'
    fi
    # pip's first lines name the Python of the place where it was made.
    place=$(head -n 2 "$VENV/bin/pip" 2>/dev/null |
        grep -o '/[^"]*/bin/' | head -n 1) || place=
    if [[ -n $place && ! $place -ef $VENV/bin ]]; then
        problem "$VENV was made as ${place%/bin/} and moved, which" \
            'environments do not survive; delete it and run this again'
    elif [[ -n $FACTS ]] && "$PY" -I -c '' 2>/dev/null &&
        [[ $(probe "$PY") != "${FACTS%% *} "* ]]; then
        problem "$VENV was made with another Python than $PYTHON; delete it" \
            'or say VENV=...'
    fi
    if compgen -G \
        "$VENV/lib/python3*/site-packages/${OTHER_MMCV//-/_}-*.dist-info" \
        >/dev/null; then
        problem "$VENV holds $OTHER_MMCV, which $MMCV would write over;" \
            'delete it or say VENV=...'
    fi
    ((PROBLEMS == 0)) || die 'stopped before changing or downloading anything'

    place=$VENV
    while [[ ! -e $place ]]; do
        place=$(dirname "$place")
    done
    free=$(df -Pk "$place" | awk 'NR == 2 {print int($4 / 1048576)}')
    if [[ ! -e $PY ]] && ((${free:-99} < 12)); then
        say "Warning: $free GB are free at $place; about 12 GB are needed."
    fi
}

# How many compilers at a time: each takes up to about 1.5 GB.
count_jobs() {
    local cores memory
    cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
    memory=$(awk '/^MemAvailable/ {print int($2 / 1572864)}' /proc/meminfo \
        2>/dev/null) || memory=$cores
    if ((memory < cores)); then cores=$memory; fi
    say $((cores < 1 ? 1 : cores))
}

# ------------------------------------------------------------- running things

CHILD=
stop_child() {
    local wait
    trap '' INT TERM HUP
    # The whole group: pip's compilers would go on without it. On INT pip
    # clears its temporary files away.
    if [[ -n $CHILD ]]; then
        kill -INT -- "-$CHILD" 2>/dev/null || true
        for ((wait = 0; wait < 50; wait++)); do
            [[ -n $(jobs -pr) ]] || break
            sleep 0.1
        done
        kill -TERM -- "-$CHILD" 2>/dev/null || true
    fi
    die 'interrupted; run it again and it goes on from here'
}

elapsed() { say "$(($1 / 60))m$(printf %02d $(($1 % 60)))s"; }

# quietly LABEL COMMAND...: the command's output goes to the log, and a sign of
# life to the screen every half minute.
quietly() {
    local label=$1 begin=$SECONDS next=30 from count status=0
    shift
    say "  $label"
    printf '\n=== %s\n' "$*" >>"$LOG"
    from=$(wc -l <"$LOG")
    set -m # the child gets a process group of its own: see stop_child
    "$@" >>"$LOG" 2>&1 </dev/null &
    CHILD=$!
    set +m
    while kill -0 "$CHILD" 2>/dev/null; do
        if ((SECONDS - begin >= next)); then
            # ninja's "[12/150]", where something is being compiled.
            count=$(tail -n "+$from" "$LOG" |
                grep -Eo '^ *\[[0-9]+/[0-9]+\]' | tail -n 1) || count=
            say "    ... $(elapsed $((SECONDS - begin)))$count"
            next=$((next + 30))
        fi
        sleep 0.2
    done
    wait "$CHILD" || status=$?
    CHILD=
    return "$status"
}

failed() {
    say "---- the last lines of $LOG:"
    tail -n 30 "$LOG" || true
    say '----'
    die "$1 failed; the whole log is $LOG"
}

# pip_install LABEL ARGUMENT...
pip_install() {
    quietly "$1" "$PY" -I -m pip install --progress-bar off \
        -c "${PINS[0]}" -c "${PINS[1]}" "${@:2}" || failed "$1"
}

# ------------------------------------------------------------------ the steps

make_environment() {
    local output
    if ! probe "$PY" >/dev/null; then
        say '  the environment itself'
        output=$("$PYTHON" -m venv --clear "$VENV" 2>&1) ||
            die "$PYTHON -m venv failed: $(tail -n 1 <<<"$output")"
    elif ! "$PY" -I -c 'import pip' 2>/dev/null; then
        output=$("$PY" -I -m ensurepip 2>&1) ||
            die "ensurepip failed: $(tail -n 1 <<<"$output")"
    fi
}

# Early, since OpenCV is small: where its system libraries are missing, nothing
# that comes after it would import. The toolboxes want both its builds, which
# write the same files. The one without windows is written last, whatever order
# pip would take: it needs less of the system, and we open no windows.
install_opencv() {
    local error library
    pip_install 'OpenCV' opencv-python
    pip_install 'OpenCV without windows' opencv-python-headless
    if "$PY" -I -c 'import cv2' 2>/dev/null; then return; fi
    # Its files may have gone with an earlier version of the other one.
    pip_install 'OpenCV again' --force-reinstall --no-deps \
        opencv-python-headless
    error=$("$PY" -I -c 'import cv2' 2>&1) && return
    error=$(tail -n 1 <<<"$error")
    library=$(grep -Eo '[^ :]+\.so[.0-9]*' <<<"$error" | head -n 1) ||
        die "import cv2 fails: $error"
    die "OpenCV needs $library. Debian: apt-get install libgl1" \
        'libglib2.0-0; Fedora: dnf install mesa-libGL glib2'
}

# Whether the pinned mmcv is there, with ops that fit the torch that is there.
has_ops() {
    "$PY" -I -W ignore - "$MMCV" "${PINS[1]}" >>"$LOG" 2>&1 <<'EOF'
import sys
from importlib.metadata import version
import torch
import mmcv._ext
name, pins = sys.argv[1:]
assert f'{name}=={version(name)}' in open(pins).read().splitlines()
EOF
}

say_which_ops() {
    "$PY" -I -W ignore - 2>>"$LOG" <<'EOF' || true
import os
import torch
from torch.utils.cpp_extension import CUDA_HOME
wanted = torch.cuda.is_available() or os.getenv('FORCE_CUDA') == '1'
if wanted and CUDA_HOME:
    print(f'  mmcv gets CPU and CUDA ops (CUDA in {CUDA_HOME}), and takes '
          'several times as long to compile')
elif wanted:
    print('  mmcv gets CPU ops: there is a GPU but no nvcc (CUDA toolkit)')
else:
    print('  mmcv gets CPU ops: torch sees no GPU here')
EOF
}

compile_mmcv() {
    # Python's own flags ask for debugging symbols, which take more than half
    # of the time. -v: ninja's counting goes to the log, and from there to the
    # screen.
    CFLAGS="${CFLAGS:-} -g0" pip_install "mmcv: about $((30 / MAX_JOBS + 1)) minutes, or seconds where \
pip has it compiled" -v --no-build-isolation "$@" "$MMCV"
}

install_mmcv() {
    local from compiled
    if has_ops; then
        say '  mmcv: compiled already'
        return
    fi
    say_which_ops
    compile_mmcv
    if has_ops; then return; fi

    # pip caches the wheel that it built without noting how. One built where
    # there was no torch has no ops; its name says so, since it fits every
    # machine. With that out of its way, pip takes a complete one or compiles.
    say '  mmcv is there without its compiled ops, perhaps out of the cache' \
        'of pip: installing it again'
    "$PY" -I -m pip cache remove "${MMCV//-/_}-*-none-any" \
        >>"$LOG" 2>&1 || true
    from=$(wc -l <"$LOG")
    compile_mmcv --force-reinstall --no-deps
    if has_ops; then return; fi

    # Or it was cached with ops for another torch. Had it been compiled just
    # now, doing that again would not help.
    compiled=$(tail -n "+$from" "$LOG" | grep -c 'Building wheel') || true
    if ((compiled == 0)); then
        say '  that one does not fit this torch either: compiling it anew'
        compile_mmcv --force-reinstall --no-deps --no-cache-dir
        if has_ops; then return; fi
    fi
    failed 'import mmcv._ext'
}

check_imports() {
    say 'Checking that everything imports'
    "$PY" -I -W ignore - 2>>"$LOG" <<'EOF' || failed 'the last check'
import importlib
for name in ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv._ext',
             'mmpretrain', 'mmdet', 'mmseg', 'mmfft'):
    module = importlib.import_module(name)
    version = getattr(module, '__version__', 'compiled ops')
    print(f'  {name:12} {version}', flush=True)
EOF
}

main() {
    local why
    cd "$ROOT"
    unset PYTHONHOME PYTHONPATH
    if [[ ${PYTHON:-} == */* && $PYTHON != /* ]]; then
        PYTHON=$HERE/$PYTHON
    fi

    why=$(why_stale)
    if [[ -z $why ]]; then
        say "$VENV is up to date."
        return
    fi
    if [[ ${1:-} == --check ]]; then
        die "not up to date: $why"
    fi
    check_system

    # One at a time of each line in a checkout; the lock goes with the process.
    exec 9<"${PINS[1]}"
    if command -v flock >/dev/null && ! flock -n 9; then
        say 'Another installation is running here: waiting for it to end'
        flock 9
        why=$(why_stale)
        if [[ -z $why ]]; then
            say "$VENV is up to date."
            return
        fi
    fi

    export MAX_JOBS=${MAX_JOBS:-$(count_jobs)}
    export MMCV_WITH_OPS=1       # the original mmcv compiles none without
    export PATH=$VENV/bin:$PATH  # for torch to find ninja
    say "Installing mmfft into $VENV ($why)"
    say "with $PYTHON. What pip has cached is not downloaded or compiled again."
    say '  torch and its libraries: about 2 minutes, 5 GB on disk'
    say "  mmcv, compiled with $MAX_JOBS jobs: about" \
        "$((30 / MAX_JOBS + 1)) minutes"
    say '  mmdet, mmseg, mmpretrain, timm and tools: about 3 minutes'
    say "  log: $LOG"

    say 'Working'
    rm -f "$STAMP"
    trap stop_child INT TERM HUP
    make_environment
    : >"$LOG"
    install_opencv
    pip_install 'torch' torch torchvision setuptools wheel packaging ninja \
        psutil
    install_mmcv
    pip_install 'the toolboxes and tools' -r "${PINS[0]}" -r "${PINS[1]}"
    pip_install 'mmfft itself, editable' --no-deps --no-build-isolation -e .
    check_imports
    stamp_or_reason write
    if [[ $LINE == onedl ]]; then
        say "Done in $(elapsed $SECONDS). Next: make demo, make test."
    else
        say "Done in $(elapsed $SECONDS). Next: make demo LINE=$LINE," \
            "make test-$LINE."
    fi
}

# Tests source this file, for a function alone.
[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
