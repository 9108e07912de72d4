#!/usr/bin/env bash
# Makes the environment for developing and testing mmfft, from the pins in
# requirements/lock. Nothing is compiled unless OPS=compiled. `make install`
# runs it. When run again, it checks within a second that nothing has changed.
# After an interruption it continues where it was.
#
#   LINE         onedl, or upstream for the original releases of OpenMMLab
#   PYTHON       the Python to use (default: the first of 3.11, 3.12, ...)
#   VENV         folder of the environment, relative to the checkout (default:
#                .venv, or .venv-upstream)
#   OPS          light: torchvision's operators instead of mmcv's (default), or
#                compiled: mmcv's own, which need a C++ compiler and, for CUDA,
#                nvcc. PyTorch's FORCE_CUDA=1, MAX_JOBS and
#                TORCH_CUDA_ARCH_LIST apply
#   TORCH_INDEX  URL of a package index to take PyTorch from, such as the one
#                of its CPU builds
#   INSTALLER    uv (default), or pip, which takes minutes longer
#   --check      only say whether the environment is up to date
set -euo pipefail

HERE=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$(pwd -P)
MINORS=(11 12 13 14 10)

LINE=${LINE:-onedl} INSTALLER=${INSTALLER:-uv} OPS=${OPS:-}
case $LINE in
onedl) VENV=${VENV:-.venv} OTHER_MMCV=mmcv ;;
*) VENV=${VENV:-.venv-$LINE} OTHER_MMCV=onedl_mmcv ;;
esac
VENV=${VENV%/}
[[ $VENV == /* ]] || VENV=$ROOT/$VENV
PY=$VENV/bin/python
LOG=$VENV/install.log
LOCK=requirements/lock/$LINE.txt
PINS=$VENV/lock.txt

say() { printf '%s\n' "$*"; }

die() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

one_of() {
    [[ " $3 " == *" $2 "* ]] || die "$1=$2 must be one of: $3"
}

# ------------------------------------------------------------- what is there

# Prints a Python's minor version and whether it can make environments; fails
# if it does not run or is not one of ours. A name on the PATH proves little:
# pyenv puts its shims there for Pythons that it will not run.
probe() {
    "$1" -I - "${MINORS[*]}" 2>/dev/null <<'END'
import importlib.util, sys
minor = str(sys.version_info[1])
if sys.version_info[0] != 3 or minor not in sys.argv[1].split():
    sys.exit(f'is Python {sys.version_info[0]}.{minor}')
print(minor, all(map(importlib.util.find_spec, ('venv', 'ensurepip'))))
END
}

find_python() {
    local found
    if [[ -n ${PYTHON:-} ]]; then
        [[ $PYTHON != */* || $PYTHON == /* ]] || PYTHON=$HERE/$PYTHON
        probe "$PYTHON" >/dev/null && return
        found=$("$PYTHON" -V 2>&1) || found='something that does not run'
        die "PYTHON=$PYTHON is $found; mmfft needs Python 3.10 to 3.14"
    fi
    # The Python of an existing environment comes first.
    for PYTHON in "$PY" "${MINORS[@]/#/python3.}" python3; do
        probe "$PYTHON" >/dev/null && return
    done
    die 'no Python 3.10 to 3.14 that runs was found. Debian: apt-get install' \
        'python3 python3-venv; Fedora: dnf install python3; or set PYTHON=...'
}

make_environment() {
    local minor has_venv output
    read -r minor has_venv <<<"$(probe "$PYTHON")"
    if probe "$PY" >/dev/null; then
        [[ $(probe "$PY") == "$minor "* ]] ||
            die "$VENV was made with another Python than $PYTHON; delete it" \
                'or set VENV=...'
        [[ -z $(installed "$OTHER_MMCV-") ]] ||
            die "$VENV holds the other line of OpenMMLab, which would be" \
                'overwritten; delete it or set VENV=...'
        return
    fi
    if [[ -e $VENV && ! -e $VENV/pyvenv.cfg && -n $(ls -A "$VENV") ]]; then
        die "$VENV exists and is not a virtual environment; move it away or" \
            'set VENV=...'
    fi
    [[ $has_venv == True ]] ||
        die "$PYTHON cannot make environments. Debian: apt-get install" \
            "python3.$minor-venv; Fedora: dnf install python3"
    output=$("$PYTHON" -I -m venv --clear --without-pip "$VENV" 2>&1) ||
        die "$PYTHON -m venv failed: $(tail -n 1 <<<"$output")"
}

get_pip() {
    "$PY" -I -c 'import pip' 2>/dev/null ||
        "$PY" -I -m ensurepip --default-pip >>"$LOG" 2>&1 || explain ensurepip
}

# uv does not read pip's configuration; if the user has configured only pip, uv
# gets the same index and certificates.
follow_pip() {
    local name value
    while read -r name value; do
        [[ -n ${!name:-} ]] || export "$name=$value"
    done < <("$PY" -I -m pip config list 2>/dev/null | "$PY" -I -c '
import ast, sys
names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX",
         "cert": "SSL_CERT_FILE", "trusted-host": "UV_INSECURE_HOST"}
for line in sys.stdin:
    key, _, value = line.partition("=")
    name = names.get(key.partition(".")[2])
    words = ast.literal_eval(value).split() if name else []
    if name == "UV_INDEX":
        words = [word for word in words if word.startswith("http")]
        if words:
            print("UV_INDEX_STRATEGY unsafe-best-match")
    if words:
        print(name, " ".join(words))
')
}

# ------------------------------------------------------------- running things

CHILD=
stop() {
    trap '' INT TERM HUP
    # The whole group: otherwise what the installer started would go on.
    [[ -z $CHILD ]] || kill -TERM -- "-$CHILD" 2>/dev/null || true
    die 'interrupted; run it again to continue from here'
}

# run LABEL COMMAND...: the output goes to the log and, without the list of
# packages, to the screen.
run() {
    local label=$1 status=0
    shift
    printf '\n=== %s\n' "$*" >>"$LOG"
    set -m # a process group of its own: see stop
    (
        set +e
        "$@" 2>&1 </dev/null | tee -a "$LOG" | grep -Ev '^ [-+~] |^$'
        exit "${PIPESTATUS[0]}"
    ) &
    CHILD=$!
    set +m
    wait "$CHILD" || status=$?
    CHILD=
    ((status == 0)) || explain "$label"
}

explain() {
    local last network='dns error|error sending request|name resolution'
    network+='|connection (refused|reset)|network is unreachable|tcp connect'
    last=$(tail -n 60 "$LOG")
    if grep -Eqi 'no space left' <<<"$last"; then
        die "$1 failed: a disk is full. The environment takes 6 GB, and the" \
            'downloads as much again in UV_CACHE_DIR'
    elif grep -Eqi "$network" <<<"$last"; then
        die "$1 failed: the package index cannot be reached. Set HTTPS_PROXY" \
            'to use a proxy, PIP_INDEX_URL to use a mirror'
    fi
    die "$1 failed; its whole output is in $LOG"
}

# ------------------------------------------------------------------ the steps

# Copies the lock file to PINS, without the libraries of CUDA if PyTorch comes
# from an index of CPU builds, and without uv if pip installs.
choose_pins() {
    local without='^#'
    if [[ -n ${TORCH_INDEX:-} || -n $(installed 'torch-*+cpu') ]]; then
        without+='|^(cuda-|nvidia-|triton=)'
    fi
    [[ $INSTALLER == uv ]] || without+='|^uv='
    grep -Ev "$without" "$LOCK" >"$PINS"
}

# installed PATTERN: files in site-packages whose names begin like this.
installed() {
    compgen -G "$VENV/lib/python3*/site-packages/$1*" || true
}

uv_install() {
    "$VENV/bin/uv" pip install --python "$PY" --no-deps \
        -b requirements/build.txt "$@"
}

pip_install() {
    PIP_CONSTRAINT=requirements/build.txt \
        PIP_BUILD_CONSTRAINT=requirements/build.txt \
        "$PY" -I -m pip install --progress-bar off --no-deps "$@"
}

# Whether the installed packages are those of the lock file, mmfft is installed
# from this checkout, and mmcv has the ops that were asked for.
is_up_to_date() {
    local mmfft file
    [[ -x $PY ]] || return 1
    [[ -x $VENV/bin/uv ]] || INSTALLER=pip
    choose_pins
    if [[ $INSTALLER == uv ]]; then
        uv_install --offline --dry-run -r "$PINS" 2>&1 |
            grep -q 'Would make no changes' || return 1
    else
        pip_install --no-index --dry-run -r "$PINS" >/dev/null 2>&1 || return 1
    fi
    mmfft=$(installed 'mmfft-*.dist-info/direct_url.json')
    [[ -n $mmfft && -n $(installed 'mmcv/_ext') ]] || return 1
    [[ -z $OPS || $OPS == "$(kind_of_ops)" ]] || return 1
    grep -qF "\"file://${ROOT// /%20}\"" "$mmfft" || return 1
    for file in setup.py pyproject.toml requirements.txt requirements/*.txt; do
        [[ ! $file -nt $mmfft ]] || return 1
    done
    for file in configs demo tools model-index.yml; do
        [[ mmfft/.mim/$file -ef $file ]] || return 1
    done
}

get_uv() {
    local output
    [[ $INSTALLER == uv && ! -x $VENV/bin/uv ]] || return 0
    output=$("$PY" -I -m pip install -q "$(pinned uv)" 2>&1) &&
        return
    printf '%s\n' "$output" >>"$LOG"
    say 'uv cannot be installed, so pip is used, which takes minutes longer:' \
        "$(tail -n 1 <<<"$output")"
    INSTALLER=pip
}

pinned() {
    local name
    for name in "$@"; do
        grep "^$name==" "$LOCK"
    done
}

install_packages() {
    local pins
    choose_pins
    if [[ -n ${TORCH_INDEX:-} ]]; then
        # Its dependencies come with the rest.
        mapfile -t pins < <(pinned torch torchvision)
        run "$INSTALLER" "${INSTALLER}_install" \
            --index-url "$TORCH_INDEX" "${pins[@]}"
    fi
    run "$INSTALLER" "${INSTALLER}_install" -r "$PINS"
    run "$INSTALLER" "${INSTALLER}_install" --no-build-isolation -e .
}

# mmcv requires OpenCV, mmdet the OpenCV without windows, which needs fewer
# system libraries; both install the same files, and the last one wins.
check_opencv() {
    local error library again=--reinstall
    "$PY" -I -c 'import cv2' 2>/dev/null && return
    [[ $INSTALLER == uv ]] || again=--force-reinstall
    "${INSTALLER}_install" "$again" \
        "$(pinned opencv-python | sed 's/==/-headless==/')" \
        >>"$LOG" 2>&1 || true
    error=$("$PY" -I -c 'import cv2' 2>&1) && return
    error=$(tail -n 1 <<<"$error")
    library=$(grep -Eo '[^ :]+\.so[.0-9]*' <<<"$error" | head -n 1) ||
        die "import cv2 fails: $error"
    die "OpenCV needs $library. Debian: apt-get install libgl1" \
        'libglib2.0-0; Fedora: dnf install mesa-libGL glib2'
}

kind_of_ops() {
    if [[ -n $(installed 'mmcv/_ext.*.so') ]]; then
        say compiled
    else
        say light
    fi
}

# Compiled ops stay until somebody sets OPS=light, and are compiled again if
# PyTorch changes.
settle_ops() {
    if [[ ${OPS:=$(kind_of_ops)} == light ]]; then
        run 'the light ops' "$PY" -m mmfft.mmcv_ops light
    elif [[ $(kind_of_ops) == light ]] ||
        ! "$PY" -I -c 'import torch, mmcv._ext' 2>/dev/null; then
        PATH=$VENV/bin:$PATH run 'compiling' "$PY" -m mmfft.mmcv_ops compile
    fi
}

main() {
    one_of LINE "$LINE" 'onedl upstream'
    one_of INSTALLER "$INSTALLER" 'uv pip'
    one_of OPS "${OPS:-light}" 'light compiled'
    unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT
    export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1

    if [[ -z ${TORCH_INDEX:-} ]] && (is_up_to_date); then
        say "$VENV is up to date."
        return
    fi
    [[ ${1:-} != --check ]] || die "$VENV is not up to date: make install"

    find_python
    say "Installing mmfft into $VENV with $PYTHON:" \
        'PyTorch, OpenMMLab and tools, 6 GB on disk'
    trap stop INT TERM HUP
    make_environment
    : >"$LOG"
    # /tmp is often small.
    export TMPDIR=$VENV/tmp
    mkdir -p "$TMPDIR"
    get_pip
    get_uv
    follow_pip
    install_packages
    check_opencv
    settle_ops
    run 'the last check' "$PY" -W ignore -m mmfft.collect_env --short
    rm -rf "$TMPDIR"
    say "Done in $((SECONDS / 60))m$(printf %02d $((SECONDS % 60)))s. Next:" \
        "source ${VENV#"$ROOT"/}/bin/activate, make demo, make test"
}

# Tests source this file to call a single function.
[[ ${BASH_SOURCE[0]} != "$0" ]] || main "$@"
