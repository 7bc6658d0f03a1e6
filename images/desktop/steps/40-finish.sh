#!/bin/sh
# What must work is tried before the image is kept.
set -eu
for program in Xvfb jwm x11vnc websockify ffmpeg xdotool wmctrl xterm mousepad dbus-daemon; do
  command -v $program > /dev/null || { echo "$program is missing"; exit 1; }
done
ffmpeg -hide_banner -devices 2>/dev/null | grep -q x11grab
test -s /usr/share/novnc/vnc.html
python3 -c 'import gi; gi.require_version("Atspi", "2.0"); from gi.repository import Gio'
# The X server itself, and a program that draws on it.
Xvfb -screen 0 320x240x24 -nolisten tcp -displayfd 1 > /tmp/display 2> /tmp/xvfb.err &
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
  test -s /tmp/display && break
  sleep 1
done
DISPLAY=":$(cat /tmp/display)" xdpyinfo > /dev/null || { cat /tmp/xvfb.err; exit 1; }
kill $!
rm -f /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/build
apt-get clean
find /usr/share/doc -mindepth 1 -not -name copyright -type f -delete
rm -rf /usr/share/man/* /usr/share/info/* /usr/share/lintian/* /usr/share/gtk-doc
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/*.log /var/log/apt \
  /root/.cache /root/.config /tmp/* /var/tmp/*
