# As python:3.11-slim-trixie: Debian 13 with Python 3.11, which is Debian 12's.
ARG DEBIAN
FROM ${DEBIAN}
RUN echo 'deb http://deb.debian.org/debian bookworm main' > /etc/apt/sources.list.d/bookworm.list \
    && printf 'Package: python3* libpython3*\nPin: release n=bookworm\nPin-Priority: 1001\n' \
        > /etc/apt/preferences.d/bookworm \
    && apt-get update \
    && apt-get install --yes --no-install-recommends python3.11 python3.11-venv \
    && ln -s /usr/bin/python3.11 /usr/local/bin/python \
    && rm -rf /var/lib/apt/lists/* /etc/apt/sources.list.d/bookworm.list /etc/apt/preferences.d/bookworm
