#!/bin/sh
set -eu
useradd --create-home --uid 1000 --user-group --shell /bin/bash daytona
echo 'daytona ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/daytona
chmod 0440 /etc/sudoers.d/daytona
# The user may install programs for everybody in the sandbox without sudo.
chown -R daytona:daytona /usr/local/lib/node_modules /usr/local/include /usr/local/share
# Not the toolbox, which every sandbox sees there and none may change.
find /usr/local/bin -not -name daytona -exec chown -h daytona:daytona {} +
# Byte code once here, not at the first import in every sandbox.
python3 -m compileall -q /usr/lib/python3 /usr/lib/python3.* > /dev/null || true
# matplotlib's list of fonts takes seconds to make.
runuser -u daytona -- env HOME=/home/daytona MPLBACKEND=Agg python3 -c 'import matplotlib.pyplot'
runuser -u daytona -- git config --global init.defaultBranch main
