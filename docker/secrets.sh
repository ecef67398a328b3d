#!/bin/sh
# The passwords by which the containers know each other, a file each, made where they are missing: sh secrets.sh FOLDER.
# The files may be read by the containers' own accounts; the folder keeps everybody else of this machine out.
set -eu
umask 022
mkdir -p "$1"
chmod 700 "$1"
cd "$1"
for name in postgres_password redis_password orthanc_password doorbell_secret; do
    [ -s "$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$name"
done
printf 'postgresql://firstread:%s@postgres:5432/firstread' "$(cat postgres_password)" > database_url
printf 'redis://:%s@redis:6379/0' "$(cat redis_password)" > broker_url
