#!/usr/bin/env bash
# Runs the heavier clients against the real binary: the Python SDKs and what is built on them, az CLI, rclone and restic. Installs what
# is missing into ${BLOBD_CLIENTS:-~/.cache/blobd-clients}; the SDKs and az CLI disagree on versions, so each has a virtual environment.
# TAGS=invariants has blobd check itself meanwhile.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=${BLOBD_CLIENTS:-$HOME/.cache/blobd-clients}
mkdir -p "$tools/bin"

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
if ! command -v restic >/dev/null; then
  apt-get update -qq && apt-get install -y -qq restic >/dev/null
fi

(cd "$root" && go build -tags "${TAGS:-}" -o bin/blobd ./cmd/blobd)
export BLOBD=$root/bin/blobd AZ=$tools/az/bin/az RCLONE=$tools/bin/rclone AZURE_CONFIG_DIR=$tools/az-config AZURE_CORE_COLLECT_TELEMETRY=no
cd "$here"
exec "$tools/sdk/bin/python" -m pytest -q -p no:cacheprovider "$@"
