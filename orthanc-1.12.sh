#!/bin/sh
# Unpack Orthanc 1.12 of Debian 13 with all its libraries into a folder, beside which the machine's own Orthanc stays as
# it is: sh orthanc-1.12.sh FOLDER. FOLDER/Orthanc starts it; its plug-ins are in FOLDER/usr/share/orthanc/plugins.
# Tests run against it where it is there. It needs apt-get and dpkg-deb, 60 MB of downloads and 260 MB of disk, no root.
set -eu

folder=$(realpath -m "$1")
[ ! -x "$folder/Orthanc" ] || exit 0
new=$folder.new
rm -rf "$new"
mkdir -p "$new/apt/lists/partial" "$new/apt/cache/archives/partial"
: > "$new/apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
    > "$new/apt/sources.list"
cat > "$new/apt/apt.conf" <<END
Dir::State "$new/apt";
Dir::State::status "$new/apt/status";
Dir::Cache "$new/apt/cache";
Dir::Etc::sourcelist "$new/apt/sources.list";
Dir::Etc::sourceparts "-";
APT::Install-Recommends "0";
APT::Sandbox::User "";
END
export APT_CONFIG="$new/apt/apt.conf"
apt-get update --quiet
apt-get install --quiet --yes --download-only --option Debug::NoLocking=1 \
    orthanc orthanc-python orthanc-dicomweb orthanc-gdcm
for package in "$new"/apt/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$new"
done
rm -rf "$new/apt"
cat > "$new/Orthanc" <<END
#!/bin/sh
DCMDICTPATH=$folder/usr/share/dcmtk/dicom.dic PYTHONHOME=$folder/usr
export DCMDICTPATH PYTHONHOME
exec $folder/usr/lib64/ld-linux-x86-64.so.2 --library-path $folder/usr/lib/x86_64-linux-gnu \\
    $folder/usr/sbin/Orthanc "\$@"
END
chmod +x "$new/Orthanc"
rm -rf "$folder"
mv "$new" "$folder"
"$folder/Orthanc" --version | head -n 1
