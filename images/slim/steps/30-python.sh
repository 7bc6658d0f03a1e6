#!/bin/sh
# Python and the packages that programs take for granted, as Debian builds them.
set -eu
export DEBIAN_FRONTEND=noninteractive
# Debian's scipy depends on the compiler that it was built with, and by that on
# a C++ tool chain and all of Boost: 700 MB that scipy never uses when it runs.
# An empty package stands in for it.
stub=$(mktemp -d)
mkdir "$stub/DEBIAN"
cat > "$stub/DEBIAN/control" <<'EOF'
Package: python3-pythran
Version: 0.11.0+stub
Architecture: all
Maintainer: Daytona <root@localhost>
Description: stands in for Pythran, which scipy needs only to be built
EOF
chmod 0755 "$stub"
dpkg-deb --build "$stub" "$stub.deb" > /dev/null
dpkg -i "$stub.deb"
rm -rf "$stub" "$stub.deb"
apt-get install -q -y \
  python3 python3-pip python3-venv python3-setuptools python3-wheel \
  python3-numpy python3-pandas python3-matplotlib python3-scipy \
  python3-sklearn python3-pil python3-requests python3-flask \
  python3-sqlalchemy python3-bs4 python3-lxml python3-pylsp python3-pyflakes
ln -sf python3 /usr/bin/python
# Clients up to 2025 bring their own chart code, written for Matplotlib 3.10.
axis=$(python3 -c 'import matplotlib, os; print(os.path.dirname(matplotlib.__file__))')/axis.py
grep -q Axis.get_converter "$axis" || printf '\n\ndef _get_converter(self):\n    return self.converter\n\n\nAxis.get_converter = _get_converter\n' >> "$axis"
# A sandbox is its own environment: `pip install` shall work as it stands.
printf '[global]\nbreak-system-packages = true\ndisable-pip-version-check = true\nroot-user-action = ignore\n' > /etc/pip.conf
