#!/bin/sh
# Debian packages that no wheel brings: what MuJoCo's off-screen renderer needs (EGL on Mesa, or a GPU's own driver),
# and Python's venv module where there is no uv. As root it installs what is missing; otherwise it says what to install.
# It never fails: without a renderer everything works but pictures and videos.
set -u

missing=""
has_library() { { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -q "$1"; }
has_library 'libEGL\.so\.1' || missing="$missing libegl1"
has_library 'libGL\.so\.1' || missing="$missing libgl1"
has_library 'libEGL_\(mesa\|nvidia\)\.so\.0' || missing="$missing libegl-mesa0 libgl1-mesa-dri"

python=${PYTHON:-python3}
if ! command -v uv >/dev/null 2>&1 && ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing="$missing python3 python3-venv"
fi

[ "$(uname -s)" = Linux ] && [ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "system: these libraries are missing; install your distribution's packages for them (Debian's names):$missing"
elif [ "$(id -u)" -ne 0 ]; then
    echo "system: for pictures and videos install: sudo apt-get install$missing"
else
    echo "system: installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086  # one word a package
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } </dev/null >"$log" 2>&1 ||
        { tail -n 5 "$log"; echo "system: apt-get failed; going on without$missing"; }
    rm -f "$log"
fi
exit 0
