package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMachine(t *testing.T) {
	out, err := onMachine(t, time.Minute, "stat -fc %t /sys/fs/cgroup; head -n 1 /proc/pressure/cpu; cat /proc/swaps; uname -r; exit 3")
	if status, ok := errors.AsType[ExitError](err); !ok || status != 3 {
		t.Errorf("got %v, want exit status 3", err)
	}
	if !strings.HasPrefix(out, "63677270\nsome ") {
		t.Errorf("no cgroup2 or no PSI: %q", out)
	}
	if !strings.Contains(out, "/dev/zram0") || !strings.Contains(out, "\n"+*kernel+".") {
		t.Errorf("no swap, or not kernel %s: %q", *kernel, out)
	}
}

// onlyFixtures are tests of what is made of captured machines, the same on every
// kernel, that take minutes on emulated processors.
const onlyFixtures = "^(TestGoldens|TestCases|TestLinesAreTheHosts|TestUnchangedFiguresGiveTheKernelsBytes|TestCallersAtOnce|TestUnknownIDsAreBounded)$"

// TestProduct runs the product's own tests on pure cgroup v2.
func TestProduct(t *testing.T) {
	var script strings.Builder
	script.WriteString("rc=0\n")
	for _, p := range packages {
		fmt.Fprintf(&script, "echo '== %s'; (cd ../../%[1]s && %s -test.skip %s) || rc=1\n",
			p, Quote(filepath.Join(bin, filepath.Base(p)+".test")), Quote(onlyFixtures))
	}
	script.WriteString("exit $rc\n")
	out, err := onMachine(t, 10*time.Minute, script.String())
	if n := strings.Count(out, "\nPASS\n"); err != nil || n != len(packages) {
		t.Errorf("%v: %d of %d packages ended with PASS:\n%s", err, n, len(packages), out)
	}
}

// TestOracle runs all oracles, the two minutes of load beside the others.
func TestOracle(t *testing.T) {
	oracle := Quote(filepath.Join(bin, "oracle.test"))
	out, err := onMachine(t, 15*time.Minute, `
cd ../oracle
`+oracle+` -test.v -test.run '^TestLoad$' >$TMPDIR/load 2>&1 & load=$!
`+oracle+` -test.v -test.skip '^TestLoad$'; rc=$?
wait $load || rc=1
cat $TMPDIR/load
exit $rc`)
	if n := strings.Count(out, "\nPASS\n"); err != nil || n != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestConform checks the machine's own files, then those of containers, also with
// CPUs off-line. A migration from CPU to CPU takes milliseconds there.
func TestConform(t *testing.T) {
	suite(t, "conform", "-test.run 'BareLinux|Product|CPUNumbers' -hotplug -migrations 1000", 8*time.Minute)
}

// TestRuntimes runs containers of runc and crun.
func TestRuntimes(t *testing.T) { suite(t, "runtimes", "-runtimes runc,crun", 5*time.Minute) }

// TestPodman has crun run podman's containers. All of its tests would take
// many minutes.
func TestPodman(t *testing.T) {
	suite(t, "podman", "-runtime crun -test.run '^TestRun$/^(plain|left alone|user namespace|createContainer)$'", 10*time.Minute)
}

// TestContainerd runs what is different with cgroup v2 of the tests with
// containerd: limits of containers and pods, changes in place, pressure, also by the
// hook. All of them would take many minutes.
func TestContainerd(t *testing.T) {
	suite(t, "e2e", "-test.run '^(TestUpdate|TestPodLimit|TestPressure|TestHookBesideNRI)$'", 15*time.Minute)
}

// TestSoak has the daemon killed, stopped, starved and replaced, and containers
// frozen and removed, while others read.
func TestSoak(t *testing.T) {
	out := suite(t, "soak", "-test.short -test.run '^(TestKills|TestStopped|TestFrozen|TestDeleted|TestOOM|TestNoSpace|TestUpgrade|TestKilledWhileAttaching)$'", 10*time.Minute)
	if _, measured, ok := strings.Cut(out, "\n| case "); ok {
		t.Log("| case " + measured)
	}
}

// TestTooLong has a script end with its context, and the machine with it.
func TestTooLong(t *testing.T) {
	out, err := onMachine(t, 100*time.Millisecond, "echo begun; sleep 1000")
	if err == nil || !strings.Contains(err.Error(), "100ms have passed") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestAsk(t *testing.T) {
	qemu := filepath.Join(t.TempDir(), "qemu")
	for version, thread := range map[string]string{"7.2.22 (Debian 1:7.2+dfsg-7)": "single", "9.1.0": "single", "10.0.13": "multi"} {
		if err := os.WriteFile(qemu, []byte("#!/bin/sh\necho 'QEMU emulator version "+version+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		e, err := ask(t.Context(), qemu)
		if number, _, _ := strings.Cut(version, " "); err != nil || e.thread != thread || e.version != number {
			t.Errorf("QEMU %s: got %+v, %v, want thread=%s", version, e, err, thread)
		}
	}
	if err := os.WriteFile(qemu, []byte("#!/bin/sh\necho broken; exit 127\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if e, err := ask(t.Context(), qemu); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("a QEMU that does not run: got %+v, %v", e, err)
	}
}
