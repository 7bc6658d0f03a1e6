#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install -q -y \
  bash ca-certificates curl git less procps sudo vim-tiny \
  iproute2 openssh-client tzdata unzip xz-utils
