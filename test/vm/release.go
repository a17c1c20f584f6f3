package vm

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// releases are those of Debian that a machine can have for its root.
var releases = []string{"bookworm", "trixie"}

// prepareRelease unpacks a root with systemd into the cache, unless it is there.
func prepareRelease(ctx context.Context, release string, log io.Writer) (string, error) {
	if !slices.Contains(releases, release) {
		return "", fmt.Errorf("no release %q: choose bookworm or trixie", release)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	// Another list of packages makes another root.
	dir := filepath.Join(cache, "lxcfs-nri", fmt.Sprintf("root-%s-%08x", release, crc32.ChecksumIEEE([]byte(fetchRelease))))
	if _, err := os.Stat(dir); err == nil {
		return filepath.Join(dir, "root"), nil
	}
	_, _ = fmt.Fprintf(log, "  fetching Debian %s with apt-get\n", release)
	if err := cached(dir, func(tmp string) error { return sh(ctx, tmp, fetchRelease, release) }); err != nil {
		return "", fmt.Errorf("prepare a root of Debian %s: %w", release, err)
	}
	return filepath.Join(dir, "root"), nil
}

// aptState gives apt a state of its own, in which there are no packages, for the
// release $0, from where this machine has its own Debian packages.
const aptState = `
set -e
release=$0 dir=$1
from=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
[ -n "$from" ] || { echo "apt knows no archive of Debian, only Debian has $release"; exit 1; }
mkdir -p apt/lists/partial apt/archives/partial root
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $release main" >apt/sources.list
cat >apt/conf <<EOF
Dir::Etc::sourcelist "$PWD/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$PWD/apt";
Dir::State::status "$PWD/apt/status";
Dir::Cache "$PWD/apt";
APT::Architecture "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
EOF
export APT_CONFIG=$PWD/apt/conf
apt-get -qq update
`

// fetchRelease unpacks what systemd needs. No script of a package is run: there
// are the accounts that every Debian has, and the units that tests want.
const fetchRelease = aptState + `
apt-get -qq -y --download-only install base-files base-passwd bash coreutils dash diffutils dpkg findutils grep gzip \
	libc-bin login mount perl-base sed sysvinit-utils tar util-linux apt kmod procps systemd systemd-sysv usr-is-merged
mkdir -p root/usr/bin root/usr/sbin root/usr/lib root/usr/lib64 root/var/lib/dpkg/info
for d in bin sbin lib lib64; do ln -s usr/$d root/$d; done
for p in apt/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$p" | tar -x --keep-directory-symlink -C root
	# What dpkg goes by, for a package that it has installed.
	dpkg-deb -f "$p" | sed '/^Package:/a Status: install ok installed'
	echo
	name=$(dpkg-deb -f "$p" Package)
	[ "$(dpkg-deb -f "$p" Multi-Arch)" != same ] || name=$name:amd64
	dpkg-deb --fsys-tarfile "$p" | tar -t | sed 's|^\.||; s|/$||; s|^$|/.|' >root/var/lib/dpkg/info/$name.list
done >apt/installed
mv apt/installed root/var/lib/dpkg/status
rm -rf apt root/usr/share/doc root/usr/share/locale root/usr/share/man
cd root
for f in passwd group; do cp usr/share/base-passwd/$f.master etc/$f; done
echo vm >etc/hostname
echo 0123456789abcdef0123456789abcdef >etc/machine-id
mkdir -p host
# What else is wanted there only takes time on emulated processors.
find usr/lib/systemd/system/sysinit.target.wants -type l ! -name 'systemd-journald.service' ! -name 'systemd-tmpfiles-setup.service' -delete
cat >etc/systemd/system/vm.target <<EOF
[Unit]
Requires=basic.target
Wants=vm.service
After=basic.target
AllowIsolate=yes
EOF
cat >etc/systemd/system/vm.service <<EOF
[Service]
ExecStart=/run/vm/busybox sh /run/vm/init serve
EOF
`
