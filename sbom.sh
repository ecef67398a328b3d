#!/bin/sh
# Write the bill of materials of an environment, CycloneDX 1.6 in JSON with licences: sh sbom.sh PYTHON OUT.
# The tool has an environment of its own, whose pins are nobody else's; without OUT it is only installed.
set -eu

python=$1
out=${2:-}
folder=.venv/share/cyclonedx
wanted=$(sha256sum requirements-sbom.lock)
if [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-sbom.lock
    echo "$wanted" > "$folder/installed"
fi
[ -z "$out" ] || "$folder/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible --output-file "$out" "$python"
