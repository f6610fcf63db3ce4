#!/bin/sh
# Makes an environment if it is missing and installs this checkout into it; does nothing where both are up to date.
# Called by `make setup` as: sh scripts/setup.sh [ENVIRONMENT [PYTHON]]
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv}
wanted=${2:-}
extras=dev,timm,export,annotations,volumes

fail() {
    echo "setup: $*" >&2
    exit 1
}

suits() { # the right version, and able to make environments
    "$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    if [ -n "$wanted" ]; then
        suits "$wanted" || fail "PYTHON=$wanted is no Python 3.11, 3.12 or 3.13 with its venv module"
        echo "$wanted"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "found no Python 3.11, 3.12 or 3.13 with its venv module (Debian: python3-venv);" \
        "install one, or name it: make setup PYTHON=/path/to/python3.12"
}

python_of_venv() {
    for path in "$venv/bin/python" "$venv/Scripts/python.exe"; do
        if [ -e "$path" ]; then
            echo "$path"
            return
        fi
    done
}

python=$(python_of_venv)
if [ -z "$python" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
    base=$(find_python)
    echo "setup: making $venv with $("$base" --version)"
    "$base" -m venv "$venv" || fail "could not make $venv; delete it and try again"
    python=$(python_of_venv)
fi

# The stamp knows the checkout as well: an environment may be shared by several, and installs one of them.
stamp="$venv/.unet-train"
state="$(pwd -P) $(cksum <pyproject.toml) $extras"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ]; then
    exit 0
fi

echo "setup: installing unet-train[$extras] into $venv with pip"
if ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' 2>/dev/null; then
    cat <<END
setup: this downloads PyTorch and what else is needed from the package index: on Linux about 5 GB, as its torch
setup: brings CUDA along; on macOS and Windows far less. For the small CPU build stop now, run
setup:     $python -m pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
setup: and then make again: what is installed is kept.
END
fi
"$python" -m pip install --disable-pip-version-check -e ".[$extras]" || fail "pip could not install unet-train"
echo "$state" >"$stamp"
