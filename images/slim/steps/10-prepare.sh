#!/bin/sh
# Settings for dpkg and apt. The first file stays in the image: like other slim
# images, ours carries no manuals or translations. The second is for the build
# only: what a crash would lose, the next build makes again.
set -eu
cat > /etc/dpkg/dpkg.cfg.d/slim <<'EOF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
EOF
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/build
cat > /etc/apt/apt.conf.d/99slim <<'EOF'
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
EOF
# Services that packages bring must not start while they are installed.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
# A mirror that cannot be reached is an error here, not a warning.
apt-get update -q -o APT::Update::Error-Mode=any
