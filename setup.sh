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
need openssl openssl
need /usr/sbin/nginx nginx-light
need caddy caddy
need chromium chromium
need espeak-ng espeak-ng
need docker-compose docker-compose
need "$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null || echo libfaketime.so.1)" libfaketime

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

# OHIF, the viewer of the demo and of the tests. The rest works without it, so a missing network is no failure.
sh viewer.sh .venv/share/ohif || [ $? = 2 ]

# axe-core, with which the tests look for what keeps people out of the pages.
sh axe.sh .venv/share/axe || [ $? = 2 ]

# dcmjs-dimse, with which a test asks workitems by DIMSE.
sh dcmjs.sh .venv/share/dcmjs || [ $? = 2 ]

# An OpenID Provider, at which a test logs in.
sh oidc.sh .venv/share/oidc-provider || [ $? = 2 ]
