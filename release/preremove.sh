#!/bin/sh
# Stops the service when the package goes; an upgrade keeps it running. Data and settings stay.
set -e
case "$1" in
  remove | 0)
    if [ -d /run/systemd/system ] && [ -z "$DPKG_ROOT" ]; then
      systemctl disable --now blobd.service
    fi
    ;;
esac
