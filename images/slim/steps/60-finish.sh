#!/bin/sh
# What must work is tried before the image is kept.
set -eu
cd /home/daytona
as() { runuser -u daytona -- env HOME=/home/daytona PATH=/usr/local/bin:/usr/bin:/bin "$@"; }
as python3 -c 'import numpy, pandas, matplotlib, scipy, sklearn, PIL, requests, flask, sqlalchemy, bs4, pyflakes'
as node -e 'process.exit(0)'
as npx --no-install ts-node -T -O '{"module":"CommonJS"}' -e 'const n: number = 1; if (n !== 1) process.exit(1)'
as pylsp --version > /dev/null
as typescript-language-server --version > /dev/null
as git --version > /dev/null
rm -f /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/build
apt-get clean
find /usr/share/doc -mindepth 1 -not -name copyright -type f -delete
rm -rf /usr/share/man/* /usr/share/info/* /usr/share/lintian/*
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/*.log /var/log/apt \
  /root/.npm /root/.cache /root/.config /home/daytona/.npm /home/daytona/.config /tmp/* /var/tmp/*
