package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/test/vm"
)

var (
	releases = flag.String("releases", "bookworm", "`releases` of Debian to test on, separated by commas: bookworm (systemd 252), trixie (257)")
	kills    = flag.Int("kills", 3, "how often the daemon is killed")
	restarts = flag.Int("restarts", 2, "how often it is restarted")
)

// mountpoint is the unit's.
const mountpoint = "/var/lib/lxcfs-nri"

// limit is how long one step may take.
const limit = 5 * time.Minute

// readers are those of node.
var readers = []string{"plain", "users", "volumes"}

// node is a machine with systemd, on which the unit is installed and containers run.
type node struct {
	machine *vm.Machine
	bin     string // folder of what was built here
}

// start starts a machine with the unit, and containers.
func start(t *testing.T, release string) *node {
	t.Helper()
	n := boot(t, vm.Options{Release: release})
	n.containers(t)
	return n
}

// containers starts the runtime with its containers.
func (n *node) containers(t *testing.T) {
	t.Helper()
	n.runtime(t, vm.Quote(vm.HostDir+n.bin+"/node")+" "+mountpoint)
}

// runtime starts a runtime, and waits for its containers.
func (n *node) runtime(t *testing.T, command string) {
	t.Helper()
	n.run(t, "systemd-run --quiet --unit=node -p Delegate=yes "+command+"\n"+
		until("[ -e "+Dir+"/up ] || ! systemctl --quiet is-active node"))
	if out := n.run(t, "[ -e "+Dir+"/up ] || journalctl --no-pager -u node -u lxcfs-nri | cat"); out != "" {
		t.Fatalf("the containers did not start:\n%s", out)
	}
}

// boot starts a machine, installs what the packages do, and starts the unit.
func boot(t *testing.T, o vm.Options) *node {
	t.Helper()
	n := &node{bin: t.TempDir()}
	for version, pkg := range map[string]string{"one": "../../cmd/lxcfs-nri", "two": "../../cmd/lxcfs-nri", "node": "./node"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", filepath.Join(n.bin, version), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if strings.HasPrefix(pkg, "../") {
			cmd.Dir, cmd.Args[len(cmd.Args)-1] = "../..", "./cmd/lxcfs-nri"
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	o.Log = t.Output()
	m, err := vm.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	n.machine = m
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	n.run(t, `
cp `+vm.Quote(vm.HostDir+n.bin+"/one")+` /usr/bin/lxcfs-nri
cp ../../packaging/systemd/*.service /usr/lib/systemd/system/
mkdir -p /etc/lxcfs-nri && echo 'attachExisting: true' >/etc/lxcfs-nri/config.yaml
systemctl daemon-reload
systemctl start lxcfs-nri`)
	return n
}

// until waits for a condition, a minute at most.
func until(condition string) string {
	return fmt.Sprintf("for i in $(seq 300); do if %s; then break; fi; sleep 0.2; done\n", condition)
}

// run runs a script, which must not fail, and gives what it prints.
func (n *node) run(t *testing.T, script string) string {
	t.Helper()
	out, err := n.try(t, script)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return out
}

// try runs a script and gives what it prints.
func (n *node) try(t *testing.T, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("more than %s have passed", limit))
	defer cancel()
	var out bytes.Buffer
	err := n.machine.Run(ctx, script, &out)
	return strings.TrimSpace(out.String()), err
}

// why tells what may be behind a fault: the log, and what the daemon is waiting for.
// It does not fail, so that the fault is told in any case.
func (n *node) why(t *testing.T) string {
	t.Helper()
	out, err := n.try(t, `journalctl --no-pager -n 60 -u lxcfs-nri -u lxcfs-nri-detach | cat; systemctl list-jobs
p=$(systemctl show --value -p MainPID lxcfs-nri)
if [ "$p" = 0 ]; then
	echo 'no daemon runs'
else
	for d in /proc/$p/task/*; do grep State $d/status; cat $d/stack; done
fi 2>&1`)
	if err != nil {
		out += fmt.Sprintf("\nnothing more can be told: %v", err)
	}
	return out
}

// counts are what the readers have counted so far.
func (n *node) counts(t *testing.T) map[string]Counts {
	t.Helper()
	all := map[string]Counts{}
	lines := strings.Split(n.run(t, "cd "+Dir+"; for r in "+strings.Join(readers, " ")+"; do cat $r; echo; done"), "\n")
	if len(lines) != len(readers) {
		t.Fatalf("there are %d counts: %q", len(lines), lines)
	}
	for i, name := range readers {
		var c Counts
		if err := json.Unmarshal([]byte(lines[i]), &c); err != nil {
			t.Fatalf("counts of %s: %v: %q", name, err, lines[i])
		}
		all[name] = c
	}
	return all
}

// next gives what the readers count from now on until each has read a few
// whole texts.
func (n *node) next(t *testing.T) map[string]Counts {
	t.Helper()
	return n.while(t, "")
}

// while gives what the readers count while a script runs and until each has
// read a few whole texts after it. One that reads no more hangs.
func (n *node) while(t *testing.T, script string) map[string]Counts {
	t.Helper()
	before := n.counts(t)
	n.run(t, script)
	middle := n.counts(t)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		after := n.counts(t)
		behind := ""
		for _, name := range readers {
			if after[name].whole() < middle[name].whole()+3 {
				behind += " " + name
			}
		}
		if behind == "" {
			return since(before, after)
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute after %q no whole text is read any more by%s: %+v\n%s", script, behind, after,
				n.why(t))
		}
	}
}

func (c Counts) whole() int { return c.Ours + c.Kernels }

func since(before, after map[string]Counts) map[string]Counts {
	all := map[string]Counts{}
	for name, a := range after {
		b := before[name]
		a.Ours, a.Kernels, a.Failed = a.Ours-b.Ours, a.Kernels-b.Kernels, a.Failed-b.Failed
		a.Torn, a.Back = a.Torn-b.Torn, a.Back-b.Back
		a.Stalls = a.Stalls[len(b.Stalls):]
		all[name] = a
	}
	return all
}

// comes waits until readers see one kind only, and checks that it stays so.
func (n *node) comes(t *testing.T, names []string, ours bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		got := n.next(t)
		if !slices.ContainsFunc(names, func(name string) bool { return got[name].fault(ours) != "" }) {
			break
		}
	}
	see(t, n.next(t), names, ours)
}

// fault says what is wrong with counts of which all should be whole texts of one kind.
func (c Counts) fault(ours bool) string {
	switch {
	case c.Failed != 0 || c.Torn != 0 || c.Back != 0:
		return fmt.Sprintf("%d reads failed, %d texts were torn, %d clocks went back: %s", c.Failed, c.Torn, c.Back, c.Last)
	case ours && (c.Kernels != 0 || c.Ours == 0):
		return fmt.Sprintf("saw the kernel's figures %d times, the container's %d times", c.Kernels, c.Ours)
	case !ours && (c.Ours != 0 || c.Kernels == 0):
		return fmt.Sprintf("saw the container's figures %d times, the kernel's %d times", c.Ours, c.Kernels)
	}
	return ""
}

// see checks that readers saw nothing but whole texts, of one kind.
func see(t *testing.T, got map[string]Counts, names []string, ours bool) {
	t.Helper()
	for _, name := range names {
		c := got[name]
		c.Stalls = nil // very many
		t.Logf("%-8s %+v", name, c)
		if fault := c.fault(ours); fault != "" {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// stalls tells how long reads waited for what was done so many times: each
// reader for each.
func stalls(t *testing.T, times int, what string, got map[string]Counts) {
	t.Helper()
	var all []int
	for _, name := range readers {
		s := slices.Sorted(slices.Values(got[name].Stalls))
		all = append(all, s[max(0, len(s)-times):]...)
	}
	if len(all) == 0 {
		t.Logf("%d %s: no read took more than %s", times, what, Stall)
		return
	}
	slices.Sort(all)
	t.Logf("%d %s: half of the stalls of reads are up to %d ms, the longest %d ms", times, what, all[(len(all)-1)/2], all[len(all)-1])
}

// property is one of the unit's.
func (n *node) property(t *testing.T, name string) string {
	t.Helper()
	return n.run(t, "systemctl show --value -p "+name+" lxcfs-nri")
}
