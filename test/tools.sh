#!/usr/bin/env bash
# Says what the tests need on this machine besides Go, and installs what is missing where it may: as root, where there is apt-get.
# With --check it installs nothing.
set -euo pipefail

missing=() packages=()
need() { # need NAME PACKAGES REASON: the test whether it is there comes on standard input
  if bash -s >/dev/null 2>&1; then
    printf '  %-10s there    %s\n' "$1" "$3"
  else
    printf '  %-10s MISSING  %s (Debian: %s)\n' "$1" "$3" "$2"
    missing+=("$1")
    packages+=($2)
  fi
}
echo "The tests need, besides Go:"
need cc 'gcc libc6-dev' 'a C compiler, for the race detector' <<<'command -v cc || command -v gcc'
need node 'nodejs npm' 'Node.js and npm, for the JS SDKs, azcopy and the page in the browser' <<<'command -v node && command -v npm'
need chromium 'chromium' 'a browser, for TestBrowser' <<<'command -v chromium'
need libsecret 'libsecret-1-0' 'a library that azcopy wants' <<<'ldconfig -p | grep -q libsecret-1.so.0'
[ ${#missing[@]} = 0 ] && exit 0

how="apt-get install ${packages[*]}"
if [ "${1:-}" = --check ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]}. Install them (as root: make tools, or $how), then go on." >&2
  exit 1
fi
echo "Installing: ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq "${packages[@]}" >/dev/null
exec "$0" --check
