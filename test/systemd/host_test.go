package systemd

import (
	"path"
	"strings"
	"testing"

	service "github.com/lxcfs-nri/lxcfs-nri/internal/node"
	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

// asPod runs lxcfs-nri as the chart's pods do: in a mount namespace and with a root
// of its own, the image's.
const asPod = "unshare --mount --propagation slave chroot /run/image /usr/bin/lxcfs-nri host "

// host has what the chart's pods do done to a machine without the service: it is
// installed, upgraded and removed.
func (n *node) host(t *testing.T) {
	image := "mkdir -p /run/image/proc && mount --rbind /proc /run/image/proc\n"
	for _, file := range service.Files {
		from, ok := map[string]string{
			"lxcfs-nri":                vm.HostDir + n.bin + "/one",
			"lxcfs-nri-hook":           vm.HostDir + n.bin + "/one", // nobody runs it here
			"LICENSE":                  "../../LICENSE",
			"config.yaml":              "../../packaging/config.yaml",
			"lxcfs-nri-annotated.json": "../../packaging/hooks.d/lxcfs-nri-annotated.json",
		}[path.Base(file)]
		if !ok {
			from = "../../packaging/systemd/" + path.Base(file)
		}
		image += "mkdir -p /run/image" + path.Dir(file) + " && cp " + vm.Quote(from) + " /run/image" + file + "\n"
	}
	n.run(t, image+"rm -rf "+Dir)
	install := func(unit, until string) string {
		return "systemd-run --quiet --unit=" + unit + " " + asPod + "install\n" +
			"for i in $(seq 300); do if journalctl -u " + unit + " | grep -q '" + until + "'; then break; fi; sleep 0.2; done\n"
	}
	n.run(t, install("first", "msg=installed changed=true"))
	if got := n.run(t, "systemctl is-enabled lxcfs-nri; systemctl is-active lxcfs-nri"); got != "enabled\nactive" {
		t.Fatalf("after the installation the unit is %q:\n%s", got, n.run(t, "journalctl --no-pager -u first"))
	}
	n.containers(t)
	see(t, n.next(t), readers, true)

	n.run(t, "systemctl stop first")
	before := n.property(t, "MainPID")
	see(t, n.while(t, install("same", "msg=installed changed=false")), readers, true)
	if now := n.property(t, "MainPID"); now != before {
		t.Errorf("the service was process %s before nothing changed, and is %s now", before, now)
	}
	n.run(t, "systemctl stop same; cp "+vm.Quote(vm.HostDir+n.bin+"/two")+" /run/image/usr/bin/lxcfs-nri")
	see(t, n.while(t, install("newer", "msg=installed changed=true")), readers, true)
	if out := n.run(t, "lxcfs-nri status --json"); !strings.Contains(out, `"two"`) {
		t.Errorf("the newer version does not serve: %s", out)
	}

	n.run(t, "systemctl stop newer\n"+asPod+"uninstall")
	n.comes(t, readers, false)
	n.run(t, "systemctl stop node; umount -l /run/image/proc && rm -r /run/image")
	if files := n.ours(t); files != "" {
		t.Errorf("left after all:\n%s", files)
	}
}
