package systemd

import (
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

// TestSELinux has the unit on a machine whose policy is enforced: the runtime runs in
// the domain of container engines, and its containers in that of containers, each
// with categories of its own.
func TestSELinux(t *testing.T) {
	n := boot(t, vm.Options{Release: "trixie", SELinux: true})

	n.run(t, "systemctl stop lxcfs-nri\n"+load("without-containers")+"systemctl start lxcfs-nri")
	if got, want := n.label(t), "system_u:object_r:fusefs_t:s0"; got != want {
		t.Errorf("where the policy knows of no containers, files have the label %s, want %s", got, want)
	}
	// Which may read the log, unlike journalctl.
	if log := n.run(t, "systemctl status --no-pager --full lxcfs-nri | cat"); !strings.Contains(log, "mounted without an SELinux context") {
		t.Errorf("nothing of that in the log:\n%s", log)
	}

	n.run(t, "systemctl stop lxcfs-nri\n"+load("with-containers")+"systemctl start lxcfs-nri")
	if got, want := n.label(t), "system_u:object_r:container_file_t:s0"; got != want {
		t.Errorf("files have the label %s, want %s", got, want)
	}
	n.run(t, `
cp `+vm.Quote(vm.HostDir+n.bin+"/node")+` /usr/bin/node
mkdir -p -m 777 `+Dir+` && cp /usr/bin/node `+Dir+`/program
chcon -t container_engine_exec_t /usr/bin/node
chcon -R -t container_file_t `+Dir)
	n.runtime(t, "/usr/bin/node "+mountpoint+" system_u:system_r:container_t:s0")
	see(t, n.next(t), readers, true)
	got := n.run(t, "/usr/bin/ps -C lxcfs-nri,node,program -o label= | sort")
	want := `system_u:system_r:container_engine_t:s0
system_u:system_r:container_t:s0:c0,c1
system_u:system_r:container_t:s0:c2,c3
system_u:system_r:container_t:s0:c4,c5
system_u:system_r:initrc_t:s0`
	if got != want {
		t.Errorf("processes are\n%s\nwant\n%s", got, want)
	}

	see(t, n.while(t, kill+until(serves)), readers, true)
	see(t, n.while(t, "systemctl restart lxcfs-nri"), readers, true)
	n.run(t, "lxcfs-nri detach --all")
	n.comes(t, readers, false)
	n.run(t, "lxcfs-nri attach --all")
	n.comes(t, attached, true)
	if denied := n.run(t, "dmesg | grep 'avc: *denied .* scontext=system_u:system_r:initrc_t:' || :"); denied != "" {
		t.Errorf("the daemon was denied:\n%s", denied)
	}

	n.run(t, "systemctl stop lxcfs-nri\necho 'selinuxContext: none' >>/etc/lxcfs-nri/config.yaml")
	before := n.counts(t)
	n.run(t, "systemctl start lxcfs-nri")
	denied := func(after map[string]Counts) bool {
		for _, name := range attached {
			if after[name].Failed == before[name].Failed || !strings.HasSuffix(after[name].Last, "permission denied") {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		after := n.counts(t)
		if denied(after) {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("containers may read files without the context, which so has no effect: %+v", after)
			break
		}
	}

	// The type of a process, by mistake.
	out, err := n.try(t, `echo 'selinuxContext: system_u:system_r:container_t:s0' >/run/wrong.yaml
lxcfs-nri serve --config /run/wrong.yaml --mountpoint /run/wrong --run-dir /run/wrong-run 2>&1`)
	if err == nil || !strings.Contains(out, "the policy does not let the service mount with the context system_u:system_r:container_t:s0") {
		t.Errorf("with a process's context: %v, %s", err, out)
	}
	if t.Failed() {
		n.run(t, "setenforce 0")
		t.Log(n.why(t))
	}
}

// attached are the readers of whose containers the runtime tells.
var attached = []string{"plain", "users"}

// load loads a policy, and has it enforced.
func load(policy string) string {
	return `setenforce 0
rm -r /etc/selinux/default/policy && cp -r /etc/selinux/` + policy + ` /etc/selinux/default/policy && load_policy || exit
setenforce 1
`
}

// label is that of a file served.
func (n *node) label(t *testing.T) string {
	t.Helper()
	return n.run(t, "/usr/bin/stat -c %C "+mountpoint+"/proc/meminfo")
}
