#!/usr/bin/env bash
# Builds what a release is made of into dist/: a static binary for each platform, .deb and .rpm, checksums, the bill of materials
# (CycloneDX) and the licences of all that is linked in. Two builds of one commit are the same, byte for byte.
# PLATFORMS bounds it, VERSION names it, GOFLAGS=-pgo=off makes it quick.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-$(git describe --tags --always)}
version=${version#v}
[[ $version == [0-9]*.[0-9]* ]] || version=0.0.0-$version
epoch=$(git log -1 --format=%ct)
out=${OUT:-dist}
rm -rf "$out"
mkdir -p "$out"
export CGO_ENABLED=0 SOURCE_DATE_EPOCH=$epoch

tool() { go tool -modfile=release/go.mod "$@"; }
go mod download
licences=$out/licences.txt
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/blobd | sort -u | while read -r path release dir; do
  texts=$(find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | LC_ALL=C sort)
  [ -n "$texts" ] || { echo "$path has no licence" >&2; exit 1; }
  printf '==== %s %s\n\n' "$path" "$release"
  while read -r text; do cat "$text"; echo; done <<<"$texts"
done >"$licences"
{ printf '==== Go\n\n'; cat "$(go env GOROOT)/LICENSE"; } >>"$licences"

for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/arm64 windows/amd64}; do
  os=${platform%/*} arch=${platform#*/}
  binary=$out/blobd-$os-$arch
  [ "$os" != windows ] || binary+=.exe
  echo "$binary"
  GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$version" -o "$binary" ./cmd/blobd
  tool cyclonedx-gomod bin -json -noserial -version "v$version" -output "$binary.cdx.json" "$binary" 2>/dev/null
  sed -i "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)\"/" "$binary.cdx.json"
  if [ "$os" = linux ]; then
    for kind in deb rpm; do
      ARCH=$arch VERSION=$version BINARY=$binary LICENCES=$licences \
        tool nfpm package --config release/nfpm.yaml --packager $kind --target "$out/" >/dev/null
    done
  fi
done
(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
