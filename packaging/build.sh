#!/bin/sh
# Builds the packages of one version into dist/: packaging/build.sh VERSION.
# The same commit gives the same bytes. GO and NFPM are the commands that make
# hands over, with their arguments.
set -eu
cd "$(dirname "$0")/.."
version=${1:?the version is missing: packaging/build.sh VERSION}
: "${GO:=go}" "${NFPM:=go tool -modfile=tools/nfpm.mod nfpm}"
export CGO_ENABLED=0 LC_ALL=C TZ=UTC
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"

# What a package manager compares. Tags are v1.2.3 and v1.2.3-rc.1; commits after
# one are later than it, and where there is no tag yet the commit's time counts.
case $version in
v[0-9]* | [0-9]*.*)
	PACKAGE_VERSION=$(echo "${version#v}" |
		sed -E 's/-dirty$/.dirty/; s/-([0-9]+)-(g[0-9a-f]+(\.dirty)?)$/+\1.\2/; s/-/~/g')
	;;
*)
	PACKAGE_VERSION=0~$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$(echo "$version" | tr -- - .)
	;;
esac
export PACKAGE_VERSION

rm -rf dist/stage
mkdir -p dist/stage/man dist/stage/completion
$GO test -trimpath -vet=off -count=1 -run '^TestManPages$' ./cmd/lxcfs-nri -man "$PWD/dist/stage/man"
gzip -9n dist/stage/man/*
$GO build -trimpath -o dist/stage/here/ ./cmd/lxcfs-nri
for shell in bash zsh fish; do
	dist/stage/here/lxcfs-nri completion "$shell" >dist/stage/completion/"$shell"
done
cat >dist/stage/changelog.yaml <<END
- semver: $PACKAGE_VERSION-1
  date: $(date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
  packager: The lxcfs-nri authors <lxcfs-nri@users.noreply.github.com>
  deb: {urgency: medium, distributions: [unstable]}
  changes:
    - note: Built from $version.
END

for ARCH in ${ARCHITECTURES:-amd64 arm64}; do
	export ARCH
	# Without what git knows of the tree: it is in the version already.
	GOARCH=$ARCH $GO build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" \
		-o "dist/stage/$ARCH/" ./cmd/...
	for packager in deb rpm; do
		$NFPM package --config packaging/nfpm.yaml --packager "$packager" --target dist/
	done
done
