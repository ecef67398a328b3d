#!/bin/sh
# Install what is missing, and only that: Debian packages (as root), .venv, Python packages at their pinned digests.
set -eu

PYTHON=${PYTHON:-python3.11}
command -v "$PYTHON" >/dev/null 2>&1 || PYTHON=python3
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "make setup: Python 3.11 or newer is needed; name it: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
}
PACKAGES=
"$PYTHON" -c 'import ensurepip' 2>/dev/null || PACKAGES=" python3-venv"
need() { # need PROGRAM-OR-FILE PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || PACKAGES="$PACKAGES $2"
}
need Orthanc orthanc
need /usr/share/orthanc/plugins/libOrthancDicomWeb.so orthanc-dicomweb
need /usr/share/orthanc/plugins/libOrthancPython.so orthanc-python
need /usr/share/orthanc/plugins/libOrthancGdcm.so orthanc-gdcm
need redis-server redis-server
need /usr/lib/postgresql postgresql
need dsrdump dcmtk
need /usr/share/java/pixelmed.jar libpixelmed-java
need javac default-jdk-headless
need chromium chromium
need docker-compose docker-compose

if [ -n "$PACKAGES" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "make setup: install these first, as root: apt-get install$PACKAGES" >&2
        exit 1
    fi
    # Services must not start by themselves: tests and the demo start their own on free ports.
    guard=$(mktemp -d)
    printf '#!/bin/sh\nexit 101\n' > "$guard/policy-rc.d"
    chmod +x "$guard/policy-rc.d"
    had_policy=true
    [ -e /usr/sbin/policy-rc.d ] || { had_policy=false; cp "$guard/policy-rc.d" /usr/sbin/policy-rc.d; }
    rm -r "$guard"
    status=0
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $PACKAGES; } \
        || status=$?
    $had_policy || rm -f /usr/sbin/policy-rc.d
    [ "$status" = 0 ] || { echo "make setup: apt-get could not install$PACKAGES" >&2; exit 1; }
fi

# Done already for these very pins?
stamp=.venv/installed
wanted=$(cat requirements-dev.lock pyproject.toml | sha256sum)
if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
    echo "$wanted" > "$stamp"
fi

# OHIF, the viewer of the demo and of the tests, for the address /viewer/. What needs neither stays out: the other half
# is models' runtimes, slide microscopy and source maps.
ohif=3.13.2
ohif_sha512=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
viewer=.venv/share/ohif
if [ "$(cat "$viewer/installed" 2>/dev/null)" != "$ohif_sha512" ]; then
    new=$viewer.new
    rm -rf "$new" "$viewer"
    mkdir -p "$new"
    if ! command -v npm >/dev/null 2>&1; then
        echo "make setup: no viewer, since npm is not installed (apt-get install npm); its tests will fail" >&2
    elif ! npm pack --silent --pack-destination "$new" "@ohif/app@$ohif" >/dev/null; then
        echo "make setup: no viewer, since npm could not fetch @ohif/app@$ohif; its tests will fail" >&2
    elif ! echo "$ohif_sha512  $new/ohif-app-$ohif.tgz" | sha512sum --check --status; then
        rm -r "$new"
        echo "make setup: @ohif/app@$ohif is not the package it was when it was pinned; refused" >&2
        exit 1
    else
        tar -xzf "$new/ohif-app-$ohif.tgz" -C "$new" --strip-components=2 --exclude='*.map' \
            --exclude=package/dist/ort --exclude=package/dist/dicom-microscopy-viewer package/dist
        rm "$new/ohif-app-$ohif.tgz"
        sed -i 's|"/|"/viewer/|g' "$new/index.html"
        sed -i 's|__webpack_require__\.p = "/"|__webpack_require__.p = "/viewer/"|' "$new"/*.js
        sed -i 's|url(/|url(/viewer/|g' "$new"/*.css
        echo "$ohif_sha512" > "$new/installed"
        mv "$new" "$viewer"
    fi
    rm -rf "$new"
fi
