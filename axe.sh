#!/bin/sh
# Fetch axe-core, which looks for what keeps people out of a page, into a folder for the tests: sh axe.sh FOLDER.
# Nothing where it is there already. Exit 2: it could not be fetched; 1: what was fetched is not what was pinned.
set -eu

axe=$1
version=4.14.1
sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
[ "$(cat "$axe/installed" 2>/dev/null)" != "$sha512" ] || exit 0

fail() { # fail STATUS REASON
    rm -rf "$new"
    echo "no axe-core: $2" >&2
    exit "$1"
}
new=$axe.new
rm -rf "$new" "$axe"
mkdir -p "$new"
if command -v npm >/dev/null 2>&1; then # it knows the site's own registry
    npm pack --silent --pack-destination "$new" "axe-core@$version" >/dev/null
else
    "${PYTHON:-python3}" -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
        "https://registry.npmjs.org/axe-core/-/axe-core-$version.tgz" "$new/axe-core-$version.tgz"
fi || fail 2 "axe-core@$version could not be fetched from the npm registry"
echo "$sha512  $new/axe-core-$version.tgz" | sha512sum --check --status ||
    fail 1 "axe-core@$version is not the package it was when it was pinned; refused"
tar -xzf "$new/axe-core-$version.tgz" -C "$new" --strip-components=1 package/axe.min.js package/LICENSE
rm "$new/axe-core-$version.tgz"
echo "$sha512" > "$new/installed"
mv "$new" "$axe"
