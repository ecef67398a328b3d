#!/bin/sh
# As the official image starts: an empty volume becomes a database of the account and password that are named.
set -eu
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    secret=$(mktemp)
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then cat "$POSTGRES_PASSWORD_FILE"; else echo "$POSTGRES_PASSWORD"; fi > "$secret"
    initdb --username "$POSTGRES_USER" --pwfile "$secret" --auth-local trust --auth-host scram-sha-256
    rm "$secret"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=''" start
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait --mode fast stop
fi
exec "$@" -c listen_addresses='*'
