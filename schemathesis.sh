#!/bin/sh
# Install schemathesis, which `make openapi` asks the gateway with, into an environment of its own, whose pins are nobody
# else's: sh schemathesis.sh FOLDER. Nothing where it is there already.
set -eu

folder=$1
wanted=$(sha256sum requirements-openapi.lock)
[ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || exit 0
rm -rf "$folder"
.venv/bin/python -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-openapi.lock
echo "$wanted" > "$folder/installed"
