#!/bin/sh
# Install what the licensed models need into .venv, at the pinned digests: torch without CUDA, transformers, OpenVINO.
# Exit 2: the CPU build of torch could not be had, which is on PyTorch's own index and not on PyPI; 1: anything else.
set -eu

stamp=.venv/installed-models
wanted=$(cat requirements-models.lock requirements-dev.lock | sha256sum)
[ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ] || exit 0

pip() { .venv/bin/python -m pip "$@" --quiet --disable-pip-version-check --require-hashes; }
torch=$(mktemp)
trap 'rm -f "$torch"' EXIT
sed -n '/^torch==/,/^[^ ]/{/^torch==/p;/--hash/p}' requirements-models.lock | sed '$s/ \\$//' > "$torch"
# A wheel at hand (PIP_FIND_LINKS, or a mirror of the site) comes before the network.
pip install --no-deps --requirement "$torch" 2>/dev/null ||
    pip install --no-deps --requirement "$torch" --index-url https://download.pytorch.org/whl/cpu || {
    echo "no torch: its CPU build can be had neither from the package index nor from download.pytorch.org" >&2
    exit 2
}
pip install --requirement requirements-models.lock
echo "$wanted" > "$stamp"
