#!/bin/sh
# Runs the whole suite on Debian 13, whose Python is 3.13: `make test-py313`, with WORKERS and ARGS as for `make test`.
#
# The root lies in .root-py313 (about 6 GB) and is kept for the next time. What is tested is the last commit, freshly
# installed where constraints.txt or setup.cfg changed. /proc, /dev and /sys are mounted in a namespace of their own, so that
# nothing stays mounted when this ends, however it ends.
set -eu
cd "$(dirname "$0")/.."
root=$PWD/.root-py313

refuse() {
    echo "error: make test-py313 $1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || refuse "makes a Debian root, which needs the user root; this is $(id -un)"
command -v debootstrap >/dev/null || refuse "needs debootstrap, which is not installed (apt-get install debootstrap)"
command -v git >/dev/null || refuse "needs git, which is not installed (apt-get install git)"
if [ "${1-}" != --in-namespace ]; then
    unshare --mount true 2>/dev/null || refuse "needs unshare --mount, which this machine does not allow"
    exec unshare --mount sh tests/py313.sh --in-namespace
fi

inside() {
    env -u TMPDIR -u PYTHONPATH -u VIRTUAL_ENV -u MAKEFLAGS -u MAKELEVEL chroot "$root" "$@"
}

if [ ! -e "$root/made" ]; then
    echo "Making a Debian 13 root in .root-py313 ..."
    rm -rf "$root"
    debootstrap --variant=minbase trixie "$root" >"$root.log" 2>&1 || refuse "failed: see $root.log"
    # The way to the package registries is this machine's.
    mkdir -p "$root/etc/xdg"
    for path in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/xdg/pip; do
        [ ! -e "$path" ] || cp -RL "$path" "$root$path"
    done
    inside apt-get update -qq
    inside env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
        ca-certificates git make python3 python3-venv >>"$root.log" 2>&1 || refuse "failed: see $root.log"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    mv "$root.log" "$root/made"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
# LiteRT-LM counts the processors in /sys, and aborts where it finds none.
mount --rbind /sys "$root/sys"

git init --quiet "$root/tfscale"
git -C "$root/tfscale" fetch --quiet --depth 1 "file://$PWD" HEAD
git -C "$root/tfscale" checkout --quiet --force --detach FETCH_HEAD
inside python3 --version
inside make -C /tfscale test
