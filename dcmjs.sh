#!/bin/sh
# Install dcmjs-dimse, which the tests ask workitems with, as tests/dcmjs/ pins it, into a folder: sh dcmjs.sh FOLDER.
# Nothing where it is there already. Exit 2: there is no npm, or it could not be fetched as pinned.
set -eu

folder=$1
wanted=$(sha512sum tests/dcmjs/package-lock.json | cut -d ' ' -f 1)
[ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || exit 0
command -v npm >/dev/null 2>&1 || { echo "no dcmjs-dimse: npm is not installed; its test is skipped" >&2; exit 2; }
rm -rf "$folder.new" "$folder"
mkdir -p "$folder.new"
cp tests/dcmjs/package.json tests/dcmjs/package-lock.json "$folder.new"
npm ci --prefix "$folder.new" --ignore-scripts --no-audit --no-fund --silent >/dev/null || {
    rm -rf "$folder.new"
    echo "no dcmjs-dimse: it could not be fetched from the npm registry as it was pinned" >&2
    exit 2
}
echo "$wanted" > "$folder.new/installed"
mv "$folder.new" "$folder"
