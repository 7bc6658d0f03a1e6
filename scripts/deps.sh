#!/usr/bin/env bash
# Installs the Debian packages that a group of commands needs, and nothing when
# they are all present. Usage: scripts/deps.sh GROUP...
#   run    to build and run the server
#   test   to run every test
#   bench  to run the benchmarks beside Docker
set -euo pipefail

packages() {
  case "$1" in
    # gcc, pkg-config and libseccomp-dev build runc; mmdebstrap makes the base
    # image where no registry can be reached; e2fsprogs formats sandbox disks.
    run)   echo gcc libc6-dev pkg-config libseccomp-dev mmdebstrap e2fsprogs ca-certificates ;;
    test)  packages run
           echo postgresql git curl python3-venv python3-matplotlib python3-numpy python3-pil nodejs busybox-static \
                btrfs-progs iproute2 nftables procps htop vim-tiny xvfb jwm xterm skopeo \
                chromium openssh-client zsh fish ;;
    bench) packages run; echo docker.io iptables nginx-light busybox-static ;;
    *)     echo "deps.sh: unknown group '$1' (run, test, bench)" >&2; exit 2 ;;
  esac
}

wanted=()
for group in "$@"; do wanted+=($(packages "$group")); done

missing=()
for p in "${wanted[@]}"; do
  # A program may be installed by other means than its Debian package.
  case "$p" in
    nodejs) command -v node >/dev/null && continue ;;
  esac
  dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "These Debian packages are needed, and this system has no apt-get: ${missing[*]}" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "These Debian packages are needed; run as root: apt-get install ${missing[*]}" >&2
  exit 1
fi
# A package may start a service when it is installed; none of ours is wanted
# running (tests start PostgreSQL and Docker themselves, on private sockets).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
