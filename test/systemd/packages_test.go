package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/packages"
	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

// apt asks nothing. It knows no packages that ours recommends, and has no user of
// its own, since no script of it has run.
const apt = "apt-get -y -qq -o APT::Sandbox::User=root"

// dpkg is named by its path: the machine's shell is busybox, which has one of its own.
const dpkg = "/usr/bin/dpkg"

// packages installs the package on a machine that has nothing of ours, upgrades
// and removes it, while containers read. From the installation on it is dpkg that is
// called, not apt, which would only take longer.
func (n *node) packages(t *testing.T) {
	n.run(t, `systemctl stop node lxcfs-nri
rm -r /usr/bin/lxcfs-nri /usr/lib/systemd/system/lxcfs-nri* /run/systemd/system/lxcfs-nri* /etc/lxcfs-nri /run/lxcfs-nri /var/lib/lxcfs-nri `+Dir+`
systemctl daemon-reload; systemctl reset-failed`)
	files := n.ours(t)
	if files != "" {
		t.Fatalf("files of ours before anything was installed:\n%s", files)
	}

	one, two := debs(t)
	n.run(t, apt+" install "+one)
	if got := n.run(t, "systemctl is-enabled lxcfs-nri; systemctl is-active lxcfs-nri"); got != "enabled\nactive" {
		t.Errorf("after the installation the unit is %q", got)
	}
	if out := n.run(t, "lxcfs-nri status --json"); !strings.Contains(out, `"v1.0.0"`) {
		t.Errorf("the first version does not serve: %s", out)
	}
	n.containers(t)
	see(t, n.next(t), readers, true)

	n.run(t, "echo 'attachExisting: true' >>/etc/lxcfs-nri/config.yaml")
	see(t, n.while(t, dpkg+" --force-confold -i "+two), readers, true)
	if out := n.run(t, "lxcfs-nri status --json"); !strings.Contains(out, `"v1.0.1"`) {
		t.Errorf("the next version does not serve: %s", out)
	}
	if got := n.run(t, "tail -n 1 /etc/lxcfs-nri/config.yaml"); got != "attachExisting: true" {
		t.Errorf("the upgrade has changed the configuration: it ends with %q", got)
	}

	for name, c := range n.while(t, dpkg+" --remove lxcfs-nri") {
		t.Logf("%-8s %+v", name, c)
		if c.Failed != 0 || c.Torn != 0 {
			t.Errorf("%s: during the removal %d reads failed, %d texts were torn: %s", name, c.Failed, c.Torn, c.Last)
		}
	}
	see(t, n.next(t), readers, false)
	n.run(t, "systemctl stop node; "+dpkg+" --purge lxcfs-nri")
	if files := n.ours(t); files != "" {
		t.Errorf("left after all:\n%s", files)
	}
}

// debs builds the packages of two versions and gives their paths in the machine.
func debs(t *testing.T) (one, two string) {
	t.Helper()
	dir := t.TempDir()
	if err := packages.Copy(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	build := func(version string) string {
		if err := packages.Build(t.Context(), dir, version, "amd64"); err != nil {
			t.Fatal(err)
		}
		return vm.Quote(vm.HostDir + dir + "/dist/lxcfs-nri_" + version[1:] + "-1_amd64.deb")
	}
	one = build("v1.0.0")
	// The next version has another sample configuration.
	if err := os.WriteFile(filepath.Join(dir, "packaging/config.yaml"), []byte("# Nothing has to be set.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return one, build("v1.0.1")
}

// ours finds what is named after us, and mounts and processes.
func (n *node) ours(t *testing.T) string {
	t.Helper()
	return n.run(t, `find / -xdev -name '*lxcfs*' ! -path '/var/lib/dpkg/info/*'; find /run -xdev -name '*lxcfs*'
grep fuse.lxcfs-nri /proc/mounts; pidof lxcfs-nri; dpkg -s lxcfs-nri 2>/dev/null; :`)
}
