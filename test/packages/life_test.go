package packages

import (
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

// life is what one package manager does with our package.
type life struct {
	install, upgrade, remove, purge string   // scripts
	config                          string   // where a changed configuration is after the removal
	own                             []string // what is the package manager's, or the system's
}

func TestDebLife(t *testing.T) {
	t.Parallel()
	life{
		install: "dpkg -i /packages/" + deb(one, oneName, runtime.GOARCH),
		upgrade: "dpkg --force-confold -i /packages/" + deb(two, twoName, runtime.GOARCH),
		remove:  "dpkg --remove lxcfs-nri",
		purge:   "dpkg --purge lxcfs-nri",
		config:  "/etc/lxcfs-nri/config.yaml",
		own:     []string{"/var/lib/dpkg", "/var/log", "/var/cache/man"},
	}.test(t)
}

// TestRpmLife has dnf, with no repositories, and a rpm below it that finds nothing
// that it knows on a Debian.
func TestRpmLife(t *testing.T) {
	t.Parallel()
	const dnf = "dnf -y --setopt=reposdir=/nonexistent "
	life{
		install: shell + dnf + "install /packages/" + rpm(one, oneName, runtime.GOARCH),
		upgrade: dnf + "upgrade /packages/" + rpm(two, twoName, runtime.GOARCH),
		remove:  dnf + "remove lxcfs-nri",
		purge:   "rm -r /etc/lxcfs-nri /var/lib/lxcfs-nri",
		config:  "/etc/lxcfs-nri/config.yaml.rpmsave",
		own: []string{
			"/root/.rpmdb", "/var/lib/rpm", "/var/lib/dnf", "/var/cache/dnf", "/var/log",
			"/usr/share/zsh/site-functions", "/usr/share/licenses",
		},
	}.test(t)
}

// shell is a script that installs a package which says that there is /bin/sh: rpm
// knows nothing of what dpkg has installed.
const shell = `
printf '%s\n' 'Name: shell' 'Version: 1' 'Release: 1' 'Summary: A shell' 'License: none' 'BuildArch: noarch' \
	'Provides: /bin/sh' '%description' '%files' >/run/shell.spec
rpmbuild --quiet -bb -D '_topdir /run/rpmbuild' /run/shell.spec
rpm --force-debian -i /run/rpmbuild/RPMS/noarch/shell-1-1.noarch.rpm
`

func (l life) test(t *testing.T) {
	r := newRoot(t)
	before := r.written(t)

	r.run(t, l.install)
	r.serves(t, one)
	if got := r.run(t, "readlink -f /etc/systemd/system/multi-user.target.wants/lxcfs-nri.service"); got != "/usr/lib/systemd/system/lxcfs-nri.service\n" {
		t.Errorf("the unit is not enabled: the link leads to %q", got)
	}
	c := r.container(t)
	c.sees(t, "installed", "o")

	r.run(t, "echo 'attachExisting: true' >>/etc/lxcfs-nri/config.yaml; >/run/calls")
	r.run(t, l.upgrade)
	r.serves(t, two)
	c.sees(t, "upgraded", "o")
	calls := r.file("/run/calls")
	if !strings.Contains(calls, "restart lxcfs-nri.service\n") || strings.Contains(calls, "stop") {
		t.Errorf("an upgrade calls systemctl so:\n%s", calls)
	}
	if got := r.file("/etc/lxcfs-nri/config.yaml"); !strings.HasSuffix(got, "\nattachExisting: true\n") || strings.Contains(got, added) {
		t.Errorf("the configuration was changed by the upgrade:\n%s", got)
	}

	r.run(t, l.remove)
	c.sees(t, "removed", "ok")
	c.sees(t, "after that", "k")
	if got := r.run(t, "pidof lxcfs-nri || :; grep lxcfs-nri /proc/mounts || :"); got != "" {
		t.Errorf("left after the removal: %s", got)
	}
	if got := r.file(l.config); !strings.HasSuffix(got, "\nattachExisting: true\n") {
		t.Errorf("a changed configuration is not left in %s: %q", l.config, got)
	}

	r.run(t, l.purge)
	for _, path := range append(r.written(t), strings.Fields(r.run(t, "find /run -xdev -name '*lxcfs*'"))...) {
		if slices.Contains(before, path) || slices.ContainsFunc(l.own, func(own string) bool { return strings.HasPrefix(path, own) }) {
			continue
		}
		// A folder that was written to is there as it was on this machine.
		if st, err := os.Stat(path); err != nil || !st.IsDir() {
			t.Errorf("left after all: %s", path)
		}
	}
}

// written are the files and folders that are not as they were on this machine.
func (r *root) written(t *testing.T) []string {
	return strings.Fields(r.run(t, "cd /run/upper && find . -mindepth 1 -printf '/%P\n'"))
}

// serves checks that a version serves.
func (r *root) serves(t *testing.T, version string) {
	t.Helper()
	if got := r.run(t, "lxcfs-nri status --json"); !strings.Contains(got, `"`+version+`"`) {
		t.Errorf("%s does not serve: %s\n%s", version, got, r.file("/run/log"))
	}
}

// container reads all the time, in a group with 100 MiB of memory. For each read there
// is a letter: o for ours, k for the kernel's, f for a failure.
type container struct {
	r    *root
	seen int // letters that were looked at
}

const reads = `
mount -t proc proc /proc
mount --bind /var/lib/lxcfs-nri/proc/meminfo /proc/meminfo
while :; do
	if ! text=$(cat /proc/meminfo 2>>/run/failed); then
		printf f
	else
		case $text in
		"MemTotal:         102400 kB"*) printf o ;;
		*) printf k ;;
		esac
	fi
done >/run/reads
`

func (r *root) container(t *testing.T) *container {
	t.Helper()
	g := fixture.NewGroup(t)
	g.Set(t, "memory.max", "memory.limit_in_bytes", "104857600")
	cmd := g.Command("nsenter", r.enter("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", reads)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended with the root
		cmd.Wait()                                      //nolint:errcheck // ended by a signal
		if stderr.Len() > 0 {
			t.Logf("container: %s", &stderr)
		}
	})
	return &container{r: r}
}

// sees waits for a few more reads, and checks that of all since the last time
// there were these kinds only, one after the other, each at least once.
func (c *container) sees(t *testing.T, when, want string) {
	t.Helper()
	const enough = 10
	from := len(c.r.file("/run/reads"))
	for deadline := time.Now().Add(30 * time.Second); len(c.r.file("/run/reads")) < from+enough; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: nothing is read any more: %s", when, c.r.file("/run/reads"))
		}
	}
	letters := c.r.file("/run/reads")[c.seen:]
	c.seen += len(letters)
	t.Logf("%s: %d reads", when, len(letters))
	if got := string(slices.Compact([]byte(letters))); got != want {
		t.Errorf("%s: reads were %s, want %s: %s%s", when, got, want, letters, c.r.file("/run/failed"))
	}
}

// TestWithoutSystemd installs where systemd does not run, as when an image is made.
func TestWithoutSystemd(t *testing.T) {
	t.Parallel()
	r := newRoot(t)
	r.run(t, "rmdir /run/systemd/system")
	for _, script := range []string{
		"dpkg -i /packages/" + deb(one, oneName, runtime.GOARCH) + "; dpkg --purge lxcfs-nri",
		shell + "rpm --force-debian -i /packages/" + rpm(one, oneName, runtime.GOARCH) + "; rpm --force-debian -e lxcfs-nri",
	} {
		r.run(t, script)
	}
	if calls := r.file("/run/calls"); regexp.MustCompile(`\b(start|stop|restart|daemon-reload)\b`).MatchString(calls) {
		t.Errorf("systemctl was called so:\n%s", calls)
	}
	if got := r.run(t, "find /etc/systemd /etc/lxcfs-nri -name '*lxcfs*' 2>/dev/null || :"); got != "" {
		t.Errorf("left after all: %s", got)
	}
}
