#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
# The X server depends on drivers that compile shaders with LLVM: 160 MB to
# draw in three dimensions without a graphics card. An empty package stands in
# for them; who needs OpenGL installs the real one over it:
#   apt-get install --allow-downgrades --allow-change-held-packages libgl1-mesa-dri/bookworm
# systemd would come as one of two ways to start a message bus; dbus-x11 is the
# other. noVNC's package wants a second Node.js: its pages are taken out of it.
version=$(apt-cache policy libgl1-mesa-dri | sed -n 's/^ *Candidate: //p')
stub=$(mktemp -d)
mkdir "$stub/DEBIAN"
cat > "$stub/DEBIAN/control" <<EOF
Package: libgl1-mesa-dri
Version: $version+stub
Architecture: $(dpkg --print-architecture)
Multi-Arch: same
Maintainer: Daytona <root@localhost>
Description: stands in for the OpenGL drivers, which take 160 MB
EOF
chmod 0755 "$stub"
dpkg-deb --build "$stub" "$stub.deb" > /dev/null
dpkg -i "$stub.deb"
apt-mark hold libgl1-mesa-dri > /dev/null
rm -rf "$stub" "$stub.deb"
apt-get install -q -y \
  xvfb jwm x11vnc websockify ffmpeg xdotool wmctrl x11-utils xterm mousepad \
  at-spi2-core dbus-x11 python3-gi gir1.2-atspi-2.0 fonts-dejavu-core
novnc=$(mktemp -d)
cd "$novnc"
chmod 0755 "$novnc"
apt-get download -q novnc
dpkg-deb --fsys-tarfile novnc_*.deb | tar -x -C / ./usr/share/novnc ./usr/share/doc/novnc/copyright
cd /
rm -rf "$novnc"
