#!/bin/sh
# Makes the user and lets systemd know. The service is neither enabled nor started: its settings come first.
set -e
if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers ${DPKG_ROOT:+--root="$DPKG_ROOT"} blobd.conf
fi
if [ -d /run/systemd/system ] && [ -z "$DPKG_ROOT" ]; then
  systemctl daemon-reload
  systemctl try-restart blobd.service # an upgrade
fi
