#!/bin/sh
# Orthanc under our configuration and the site's own: each .json that the site mounts adds sections to ours, such as
# DicomModalities. Orthanc takes one folder, and refuses a section that is in two of its files.
set -eu
ORTHANC_PASSWORD=$(cat "$ORTHANC_PASSWORD_FILE")
FIRSTREAD_DOORBELL_SECRET=$(cat "$FIRSTREAD_DOORBELL_SECRET_FILE")
export ORTHANC_PASSWORD FIRSTREAD_DOORBELL_SECRET
folder=$(mktemp -d)
cp /etc/firstread/orthanc.json "$folder/firstread.json"
for file in /etc/firstread/site/*.json; do
    [ ! -e "$file" ] || cp "$file" "$folder/"
done
exec /usr/sbin/Orthanc "$folder"
