#!/usr/bin/env bash
# Runs the heavier clients against the real binary: the Python SDKs and what is built on them, az CLI, rclone, restic, and those of
# other languages, which have their tests in a folder of their own. Installs what is missing into
# ${BLOBD_CLIENTS:-~/.cache/blobd-clients}; the SDKs and az CLI disagree on versions, so each has a virtual environment.
# TAGS=invariants has blobd check itself meanwhile.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${BLOBD_CLIENTS:-$HOME/.cache/blobd-clients}
mkdir -p "$tools/bin"

need() { # need COMMAND PACKAGE: installs Debian's, as root
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "$1 is missing: install it (Debian: $2), then go on" >&2
    exit 1
  fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
}
need openssl openssl
need restic restic
need javac default-jdk-headless
need mvn maven
need node nodejs
need npm npm
export PATH=$PATH:$HOME/.cargo/bin # where rustup puts it
if ! command -v cargo >/dev/null; then
  echo "cargo is missing: install Rust 1.88 or newer (rustup.rs, or Debian's rustup), then go on" >&2
  exit 1
fi

venv() { # venv NAME REQUIREMENTS CONSTRAINTS: made anew when they change
  local dir=$tools/$1
  local -a files=("$here/$2" "${3:+$here/}${3:-/dev/null}")
  if ! cat "${files[@]}" | cmp -s - "$dir/installed.txt"; then
    rm -rf "$dir"
    python3 -m venv "$dir"
    "$dir/bin/pip" install --quiet --disable-pip-version-check -r "${files[0]}" -c "${files[1]}"
    cat "${files[@]}" >"$dir/installed.txt"
  fi
}
venv sdk requirements-sdk.txt constraints-sdk.txt
venv az requirements-az.txt

(cd "$here/rclone" && go build -o "$tools/bin/rclone" .)

# OpenTofu's module has replacements, which go install refuses: it is built where it lies. Minutes the first time.
tofu=github.com/opentofu/opentofu@v1.12.6
if [ ! -x "$tools/bin/tofu-${tofu#*@}" ]; then
  dir=$(cd "$tools" && go mod download -json "$tofu" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
  go build -C "$dir" -mod=readonly -buildvcs=false -trimpath -ldflags='-s -w' -o "$tools/bin/tofu-${tofu#*@}" ./cmd/tofu
fi

azurite=$root/bench/azurite
cmp -s "$azurite/package-lock.json" "$azurite/node_modules/.installed-lock.json" || {
  (cd "$azurite" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
  cp "$azurite/package-lock.json" "$azurite/node_modules/.installed-lock.json"
}

(cd "$root" && go build -tags "${TAGS:-}" -o bin/blobd ./cmd/blobd)
export BLOBD=$root/bin/blobd AZ=$tools/az/bin/az RCLONE=$tools/bin/rclone AZURITE=$azurite/node_modules/azurite/dist/src/azurite.js TOFU=$tools/bin/tofu-${tofu#*@} AZURE_CONFIG_DIR=$tools/az-config AZURE_CORE_COLLECT_TELEMETRY=no
export CARGO_TARGET_DIR=$tools/rust
cd "$here"
exec "$tools/sdk/bin/python" -m pytest -q -p no:cacheprovider "$@"
