package cgroup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
)

func TestMain(m *testing.M) {
	fixture.TasksMain()
	os.Exit(m.Run())
}

// live opens a test's group on this machine.
func live(t testing.TB, g *fixture.Group) *Group {
	t.Helper()
	fs, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	group, err := fs.GroupOfSpec(g.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	t.Cleanup(fs.taskstats.closeLocked)
	return group
}

// letters counts tasks by the letter that /proc/<tid>/stat has.
func letters(t testing.TB, g *Group) map[string]uint64 {
	t.Helper()
	tids, err := g.Tasks(nil, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, tid := range tids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		all[f[0]]++
	}
	return all
}

// sleepers starts programs that wait to read from a pipe, which all kernels
// know as a sleep, and one that is busy.
func sleepers(t testing.TB, g *fixture.Group, n int) {
	t.Helper()
	cmd := g.Command("sh", "-c", `for i in $(seq "$1"); do read x <&3 & done; (while :; do :; done) & echo up; read x <&3`, "sh", fmt.Sprint(n-2))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // they are ours, and are waited for
		cmd.Wait()                                //nolint:errcheck // ended by a signal
	})
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
}

// eventually asks what is wrong until nothing is: processes are still starting.
func eventually(t testing.TB, wrong func() string) {
	t.Helper()
	var what string
	for range 100 {
		if what = wrong(); what == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error(what)
}

// TestTaskStatesAreThoseOfProc: a group and its child, against each task's own
// file. What the kernel's count leaves out is seen by Known alone.
func TestTaskStatesAreThoseOfProc(t *testing.T) {
	parent := fixture.NewGroup(t)
	child := parent.Child(t)
	g := live(t, parent)
	if g.tasks.own.h.v2 {
		if _, err := g.TaskStates(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("v2: got %v, want ErrUnsupported", err)
		}
		return
	}
	sleepers(t, parent, 6)
	sleepers(t, child, 4)
	eventually(t, func() string {
		want := letters(t, g)
		got, err := g.TaskStates()
		if err != nil || got != (TaskStates{Running: 2, Known: 10}) || want["R"] != 2 || want["S"] != 8 {
			return fmt.Sprintf("got %+v (%v), /proc has %v, want 2 running and 8 asleep", got, err, want)
		}
		return ""
	})

	child.Tasks(t, 1, 2, 3)
	eventually(t, func() string {
		want, all := letters(t, g), uint64(0)
		for _, n := range want {
			all += n
		}
		got, err := g.TaskStates()
		if err != nil || want["R"] != 3 || want["D"] != 2 || got.Running != 3 || got.Blocked+all-got.Known < 2 {
			return fmt.Sprintf("got %+v (%v), /proc has %v, want 3 running, and 2 blocked or not known", got, err, want)
		}
		return ""
	})
}

func TestTaskStatesOfWhatIsNoGroup(t *testing.T) {
	fs := newTree(t, map[string]string{"proc/self/mountinfo": "32 31 0:29 / /cpu rw - cgroup cgroup rw,cpu\n", "cpu/a/tasks": "1\n"})
	defer fs.taskstats.closeLocked()
	for path, want := range map[string]error{"/a": unix.EINVAL, "/b": os.ErrNotExist} {
		g := fs.GroupAt(Paths{V1: map[string]string{"cpu": path}})
		// Where the kernel has no taskstats, as in another network namespace, that is the error.
		if _, err := g.TaskStates(); !errors.Is(err, want) && (err == nil || fs.taskstats.none == nil) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

// answer is a message as the kernel sends it.
func answer(seq uint32, attr uint16, value []byte) []byte {
	return appendQuestion(nil, 31, unix.CGROUPSTATS_CMD_NEW, seq, attr, value)
}

func TestParseAnswer(t *testing.T) {
	var stats []byte
	for _, n := range []uint64{1, 2, 3, 4, 5} {
		stats = binary.NativeEndian.AppendUint64(stats, n)
	}
	refusal := answer(7, 0, nil)
	binary.NativeEndian.PutUint16(refusal[4:], unix.NLMSG_ERROR)
	refused := -int32(unix.ENOENT)
	binary.NativeEndian.PutUint32(refusal[netlinkHead:], uint32(refused))

	good := answer(7, unix.CGROUPSTATS_TYPE_CGROUP_STATS, stats)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"good", good, nil},
		{"refused", refusal, unix.ENOENT},
		{"of another question", answer(6, unix.CGROUPSTATS_TYPE_CGROUP_STATS, stats), errAnswer},
		{"another attribute", answer(7, 9, stats), errAnswer},
		{"short figures", answer(7, unix.CGROUPSTATS_TYPE_CGROUP_STATS, stats[:32]), errAnswer},
		{"cut off", good[:len(good)-1], errAnswer},
		{"empty", nil, errAnswer},
	} {
		var st unix.CGroupStats
		b, err := parseAnswer(c.in, 7)
		if err == nil {
			st, err = parseGroupStats(b)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if want := (unix.CGroupStats{Sleeping: 1, Running: 2, Stopped: 3, Uninterruptible: 4, Io_wait: 5}); err == nil && st != want {
			t.Errorf("%s: got %+v, want %+v", c.name, st, want)
		}
	}
}

func FuzzTaskstatsAnswer(f *testing.F) {
	f.Add(answer(1, unix.CGROUPSTATS_TYPE_CGROUP_STATS, make([]byte, 40)))
	f.Add(answer(1, unix.CTRL_ATTR_FAMILY_ID, []byte{31, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b, 1)
		if err != nil {
			return
		}
		if id, err := parseFamily(a); err == nil && len(a) < attrHead+2 {
			t.Errorf("%x gives family %d", b, id)
		}
		if st, err := parseGroupStats(a); err == nil && len(a) < attrHead+40 {
			t.Errorf("%x gives %+v", b, st)
		}
	})
}
