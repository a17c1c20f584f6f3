package systemd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

// What shell scripts here have in common.
const (
	kill = "kill -9 $(systemctl show --value -p MainPID lxcfs-nri)\n"
	// serves says that the daemon is up: it answers on its control socket.
	serves = "timeout 5 lxcfs-nri status >/dev/null 2>&1"
	// absent keeps the daemon from being started.
	absent  = "mv /usr/bin/lxcfs-nri /usr/bin/away\n"
	present = "mv /usr/bin/away /usr/bin/lxcfs-nri\n"
)

func TestUnit(t *testing.T) {
	for release := range strings.SplitSeq(*releases, ",") {
		t.Run(release, func(t *testing.T) {
			n := start(t, release)
			for _, step := range []struct {
				name string
				test func(*testing.T)
			}{
				{"confined", n.confined},
				{"kills", n.kills},
				{"restarts", n.restarts},
				{"upgrade", n.upgrade},
				{"stopped while nobody served", n.stale},
				{"does not start", n.fails},
				{"stop and start", n.stop},
				{"packages", n.packages},
				{"installed by a pod", n.host},
			} {
				if !t.Run(step.name, step.test) {
					t.Fatalf("the later steps begin where this one ends:\n%s", n.why(t))
				}
			}
		})
	}
}

// confined checks that the unit has what it says, and no more.
func (n *node) confined(t *testing.T) {
	see(t, n.next(t), readers, true)
	if out := n.run(t, "systemd-analyze verify /usr/lib/systemd/system/lxcfs-nri*.service 2>&1"); out != "" {
		t.Errorf("systemd-analyze verify says %s", out)
	}
	t.Log(n.run(t, "systemd-analyze --no-pager security lxcfs-nri | tail -n 1"))
	out := n.run(t, `p=$(systemctl show --value -p MainPID lxcfs-nri)
grep -E '^(Cap(Bnd|Eff|Amb)|NoNewPrivs|Seccomp):' /proc/$p/status | tr '\t\n' '  '
cat /proc/$p/oom_score_adj
[ "$(readlink /proc/$p/ns/mnt)" = "$(readlink /proc/1/ns/mnt)" ] && echo host`)
	// CAP_DAC_READ_SEARCH, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_RESOURCE.
	const caps = 1<<2 | 1<<18 | 1<<19 | 1<<21 | 1<<24
	want := fmt.Sprintf("CapEff: %016x CapBnd: %016[1]x CapAmb: %016x NoNewPrivs: 1 Seccomp: 2 -999\nhost", caps, 0)
	if out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	// A window that is no multiple of 2 s is for processes with CAP_SYS_RESOURCE.
	out = n.run(t, `f=/var/lib/lxcfs-nri/proc/pressure/cpu
printf 'some 50000 1000000\0' >$f && echo privileged
cat >/run/triggers.sh <<EOF
{
printf 'some 50000 1000000\0' >$f || echo refused
printf 'some 50000 2000000\0' >$f && echo everybody
} >/run/triggers 2>/dev/null
touch /run/triggers.end
EOF
systemd-run --quiet -p CapabilityBoundingSet=~CAP_SYS_RESOURCE sh /run/triggers.sh
`+until("[ -e /run/triggers.end ]")+"cat /run/triggers")
	if want := "privileged\nrefused\neverybody"; out != want {
		t.Errorf("PSI triggers: got %q, want %q", out, want)
	}
	if got := n.property(t, "NFileDescriptorStore"); got != "2" {
		t.Errorf("systemd keeps %s descriptors, want 2", got)
	}
	// The kernel has SELinux, but no policy.
	if log := n.run(t, "journalctl --no-pager -u lxcfs-nri | grep SELinux || :"); log != "" {
		t.Errorf("SELinux is told of:\n%s", log)
	}
}

func (n *node) kills(t *testing.T) {
	// Looking whether it serves takes time from its start.
	script := fmt.Sprintf("for k in $(seq %d); do\n%ssleep 1\n%sdone\n", *kills, kill, until(serves))
	got := n.while(t, script)
	stalls(t, *kills, "kills", got)
	see(t, got, readers, true)
	if got, want := n.property(t, "NRestarts"), fmt.Sprint(*kills); got != want {
		t.Errorf("systemd has restarted it %s times, want %s", got, want)
	}
}

func (n *node) restarts(t *testing.T) {
	got := n.while(t, fmt.Sprintf("for k in $(seq %d); do systemctl restart lxcfs-nri || exit; done", *restarts))
	stalls(t, *restarts, "restarts", got)
	see(t, got, readers, true)
	see(t, n.while(t, "systemctl try-restart lxcfs-nri"), readers, true)
}

func (n *node) upgrade(t *testing.T) {
	got := n.while(t, `cp `+vm.Quote(vm.HostDir+n.bin+"/two")+` /usr/bin/lxcfs-nri.new && mv /usr/bin/lxcfs-nri.new /usr/bin/lxcfs-nri
systemctl restart lxcfs-nri`)
	stalls(t, 1, "upgrade", got)
	see(t, got, readers, true)
	if out := n.run(t, "lxcfs-nri status --json"); !strings.Contains(out, `"two"`) {
		t.Errorf("the newer version does not serve: %s", out)
	}
}

// stale leaves dead files in containers, as a stop does at a moment when there
// is no process to be stopped, and has the next start heal them.
func (n *node) stale(t *testing.T) {
	n.run(t, absent+kill+"sleep 1; systemctl stop lxcfs-nri")
	if got := n.property(t, "NFileDescriptorStore"); got != "0" {
		t.Errorf("systemd keeps %s descriptors of a stopped service: readers would wait for ever", got)
	}
	before := n.counts(t)
	n.run(t, "sleep 1")
	for name, c := range since(before, n.counts(t)) {
		if c.Failed == 0 {
			t.Errorf("%s: no read has failed, there is nothing to heal: %+v", name, c)
		}
	}
	n.run(t, present+"systemctl start lxcfs-nri")
	n.comes(t, readers, true)
}

// fails has a daemon that can't start any more: readers wait only until systemd
// gives up.
func (n *node) fails(t *testing.T) {
	stalls(t, 1, "failure for good", n.while(t, `mkdir -p /run/systemd/system/lxcfs-nri.service.d
printf '[Unit]\nStartLimitBurst=3\n' >/run/systemd/system/lxcfs-nri.service.d/test.conf
systemctl daemon-reload; systemctl reset-failed lxcfs-nri
echo 'mistake: true' >>/etc/lxcfs-nri/config.yaml
`+kill+until("systemctl --quiet is-failed lxcfs-nri")+
		until("journalctl -u lxcfs-nri-detach | grep -q Finished")))
	n.comes(t, readers, false)
	n.run(t, `rm /run/systemd/system/lxcfs-nri.service.d/test.conf
echo 'attachExisting: true' >/etc/lxcfs-nri/config.yaml
systemctl daemon-reload; systemctl reset-failed lxcfs-nri; systemctl start lxcfs-nri`)
	n.comes(t, []string{"plain", "users"}, true)
}

// stop is for good, and the next start attaches to those that the runtime tells of.
func (n *node) stop(t *testing.T) {
	n.run(t, "systemctl stop lxcfs-nri")
	if out := n.run(t, "grep fuse.lxcfs-nri /proc/self/mountinfo || :"); out != "" {
		t.Errorf("still mounted: %s", out)
	}
	if got := n.property(t, "NFileDescriptorStore"); got != "0" {
		t.Errorf("systemd keeps %s descriptors", got)
	}
	n.comes(t, readers, false)
	n.run(t, "systemctl start lxcfs-nri")
	n.comes(t, []string{"plain", "users"}, true)
	see(t, n.next(t), []string{"volumes"}, false) // of which no runtime tells
}
