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

// prepareRelease unpacks a root with systemd into the cache, unless it is there. For
// SELinux it is an image, since the labels of files are lost on their way from a folder.
func prepareRelease(ctx context.Context, release string, selinux bool, log io.Writer) (string, error) {
	if !slices.Contains(releases, release) {
		return "", fmt.Errorf("no release %q: choose bookworm or trixie", release)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	script, more, name := fetchRelease, "", "root"
	if selinux {
		script, more, name = fetchRelease+labelRelease, "selinux-policy-default", "image"
	}
	// Another list of packages makes another root.
	dir := filepath.Join(cache, "lxcfs-nri", fmt.Sprintf("%s-%s-%08x", name, release, crc32.ChecksumIEEE([]byte(script))))
	if _, err := os.Stat(dir); err == nil {
		return filepath.Join(dir, name), nil
	}
	_, _ = fmt.Fprintf(log, "  fetching Debian %s with apt-get\n", release)
	if err := cached(dir, func(tmp string) error { return sh(ctx, tmp, script, release, tmp, more) }); err != nil {
		return "", fmt.Errorf("prepare a root of Debian %s: %w", release, err)
	}
	return filepath.Join(dir, name), nil
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
	libc-bin login mount perl-base sed sysvinit-utils tar util-linux apt kmod procps systemd systemd-sysv usr-is-merged $2
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

// labelRelease makes an image of the root, with Debian's policy as the package's
// script would build it, and another one beside it that knows of no containers. Of
// what Debian 13 lets containers do it takes away that they read any FUSE file
// system: older policies do not let them.
const labelRelease = `
cat >etc/selinux/config <<EOF
SELINUX=permissive
SELINUXTYPE=default
EOF
echo '(deny container_domain fusefs_t (file (open read)))' >usr/share/selinux/default/strict.cil
chroot . sh -ec '
cd /usr/share/selinux/default
set --
for m in $(cat .modules); do set -- "$@" -i $m.pp.bz2; done
semodule -X 100 -n -s default "$@" -i strict.cil
cp -r /etc/selinux/default/policy /etc/selinux/with-containers
semodule -n -s default -d strict -d container -d crio -d docker -d kubernetes -d podman
mv /etc/selinux/default/policy /etc/selinux/without-containers
cp -r /etc/selinux/with-containers /etc/selinux/default/policy
rm -r /usr/share/selinux /var/lib/selinux
contexts=/etc/selinux/default/contexts/files/file_contexts
echo "/run/vm/busybox -- system_u:object_r:bin_t:s0" >$contexts.local
setfiles -m -F $contexts /
'
cd ..
truncate -s 1G image
mkfs.ext4 -q -O ^has_journal -d root image
rm -r root
`
