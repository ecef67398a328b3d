#!/bin/sh
# Fetch OHIF, the viewer at the address /viewer/, into a folder: sh viewer.sh FOLDER. Nothing where it is there already.
# What /viewer/ does not need stays out: the other half is models' runtimes, slide microscopy and source maps.
# Exit 2: it could not be fetched; 1: what was fetched is not what was pinned.
set -eu

viewer=$1
ohif=3.13.2
ohif_sha512=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
[ "$(cat "$viewer/installed" 2>/dev/null)" != "$ohif_sha512" ] || exit 0

fail() { # fail STATUS REASON
    rm -rf "$new"
    echo "no viewer: $2" >&2
    exit "$1"
}
new=$viewer.new
rm -rf "$new" "$viewer"
mkdir -p "$new"
if command -v npm >/dev/null 2>&1; then # it knows the site's own registry
    npm pack --silent --pack-destination "$new" "@ohif/app@$ohif" >/dev/null
else
    "${PYTHON:-python3}" -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
        "https://registry.npmjs.org/@ohif/app/-/app-$ohif.tgz" "$new/ohif-app-$ohif.tgz"
fi || fail 2 "@ohif/app@$ohif could not be fetched from the npm registry"
echo "$ohif_sha512  $new/ohif-app-$ohif.tgz" | sha512sum --check --status ||
    fail 1 "@ohif/app@$ohif is not the package it was when it was pinned; refused"
tar -xzf "$new/ohif-app-$ohif.tgz" -C "$new" --strip-components=2 --exclude='*.map' \
    --exclude=package/dist/ort --exclude=package/dist/dicom-microscopy-viewer package/dist
rm "$new/ohif-app-$ohif.tgz"
sed -i 's|"/|"/viewer/|g' "$new/index.html"
sed -i 's|__webpack_require__\.p = "/"|__webpack_require__.p = "/viewer/"|' "$new"/*.js
sed -i 's|url(/|url(/viewer/|g' "$new"/*.css
echo "$ohif_sha512" > "$new/installed"
mv "$new" "$viewer"
