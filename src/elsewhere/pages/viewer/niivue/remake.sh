#!/bin/sh
# Pinned packages of npm in (package.json, package-lock.json); niivue.js and LICENSES.txt out, checked against niivue.sha256.
# After raising a version: `npm install --package-lock-only --omit-lockfile-registry-resolved`, then `remake.sh --new`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$here/entry.js" "$here/absent.js" "$here/licenses.js" "$work"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
node_modules/.bin/esbuild entry.js --bundle --minify --format=iife --global-name=niivue --target=es2022 \
    --legal-comments=none --metafile=parts.json --outfile=niivue.js --log-level=warning \
    --alias:numcodecs/blosc=./absent.js --alias:numcodecs/lz4=./absent.js --alias:numcodecs/zstd=./absent.js
node licenses.js parts.json "$here/niivue-license.txt" > LICENSES.txt
[ "${1:-}" = --new ] && sha256sum niivue.js LICENSES.txt > "$here/niivue.sha256"
sha256sum --check "$here/niivue.sha256"
cp niivue.js LICENSES.txt "$here"
