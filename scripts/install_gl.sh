#!/bin/sh
# Install the system library for off-screen rendering, if this machine allows it; else say what to type.
set -eu
if [ "$(id -u)" = 0 ]; then as_root=""
elif sudo -n true 2>/dev/null; then as_root="sudo"
else as_root="no"
fi
if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
    echo "setup: off-screen OpenGL is missing and cannot be installed from here." >&2
    echo "On Debian or Ubuntu type: sudo apt-get update && sudo apt-get install -y libosmesa6" >&2
    echo "On Fedora type: sudo dnf install -y mesa-libOSMesa" >&2
    exit 1
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libosmesa6
