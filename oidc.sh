#!/bin/sh
# Fetch a certified OpenID Provider, at which the tests log in, into a folder: sh oidc.sh FOLDER.
# Nothing where it is there already. Exit 2: it could not be fetched, or there is no Node.js to run it.
set -eu

folder=$1
source=$(dirname "$0")/tests/provider
wanted=$(cat "$source/package-lock.json" | sha256sum)
[ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || exit 0
command -v npm >/dev/null 2>&1 || {
    echo "no OpenID Provider for the tests: there is no npm" >&2
    exit 2
}
new=$folder.new
rm -rf "$new" "$folder"
mkdir -p "$new"
cp "$source/package.json" "$source/package-lock.json" "$new"
# By the digests of the lock, and without running anything of the packages.
(cd "$new" && npm ci --silent --ignore-scripts --no-audit --no-fund >/dev/null) || {
    rm -rf "$new"
    echo "no OpenID Provider for the tests: npm could not fetch it" >&2
    exit 2
}
echo "$wanted" > "$new/installed"
mv "$new" "$folder"
