package fdstore

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// beService makes the test binary a service: it does what its arguments say.
const beService = "LXCFS_NRI_TEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(beService) != "" {
		if err := service(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func service(what string) error {
	fds, err := Received()
	if err != nil {
		return err
	}
	switch what {
	case "store":
		fd, err := unix.MemfdCreate("x", 0)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte("kept")); err != nil {
			return err
		}
		return Store("one", fd)
	case "show":
		b := make([]byte, 10)
		n, err := unix.Pread(fds["one"], b, 0)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "%d %s %q\n", len(fds), b[:n], os.Getenv("LISTEN_FDS"))
		return nil
	case "remove":
		if err := Remove("one"); err != nil {
			return err
		}
		return Notify("READY=1")
	case "count":
		fmt.Fprintln(os.Stdout, len(fds))
	}
	return nil
}

func TestKeeper(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	told := make(chan string, 10)
	k, err := NewKeeper(filepath.Join(dir, "n"), func(state string) { told <- state })
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- k.Serve() }()
	run := func(what string) string {
		t.Helper()
		files, env, err := k.Next()
		if err != nil {
			t.Fatal(err)
		}
		defer Close(files)
		cmd := exec.Command("/proc/self/exe", what)
		cmd.Env, cmd.ExtraFiles = append(append(os.Environ(), beService+"=1"), env...), files
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", what, err, out)
		}
		return string(out)
	}
	if got := run("count"); got != "0\n" {
		t.Errorf("at first: %q", got)
	}
	run("store")
	for range 2 { // each process after it
		if got, want := run("show"), "1 kept \"\"\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	run("remove")
	if got := <-told; got != "READY=1" {
		t.Errorf("passed on: %q", got)
	}
	if got := run("count"); got != "0\n" {
		t.Errorf("after its removal: %q", got)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestReceivedOfOthers(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing":           {},
		"another process's": {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"},
		"another parent's":  {"LISTEN_PID": ofParent(1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"},
	} {
		if fds, err := received(func(k string) string { return env[k] }, 70, 7); len(fds) != 0 || err != nil {
			t.Errorf("%s: %v, %v", name, fds, err)
		}
	}
}

// FuzzReceived: whatever the environment says, what is not a descriptor is an error.
func FuzzReceived(f *testing.F) {
	f.Add("1", "a")
	f.Add("2", "a:a")
	f.Add("-1", "")
	f.Add("1000000000", strings.Repeat(":", 1000))
	f.Fuzz(func(t *testing.T, n, names string) {
		env := map[string]string{"LISTEN_PID": "70", "LISTEN_FDS": n, "LISTEN_FDNAMES": names}
		// Descriptors that this process has itself are not to be touched.
		if c, err := strconv.Atoi(n); err == nil && c > 0 && c <= 1000 && strings.Count(names, ":")+1 == c {
			return
		}
		if fds, err := received(func(k string) string { return env[k] }, 70, 7); len(fds) > 0 || (err == nil && n != "0") {
			t.Errorf("%v, %v", fds, err)
		}
	})
}

// FuzzMessage: whatever is sent to a keeper, it keeps a bounded number of
// descriptors, under names that can be told.
func FuzzMessage(f *testing.F) {
	f.Add("FDSTORE=1\nFDNAME=a")
	f.Add("FDSTORE=1\nFDNAME=a:b")
	f.Add("FDSTOREREMOVE=1\nFDNAME=a")
	f.Add("BARRIER=1")
	f.Add("READY=1\nFDSTORE=1\nFDSTOREREMOVE=1\n\n=\n")
	f.Fuzz(func(t *testing.T, state string) {
		k := &Keeper{path: "/x", forward: func(string) {}}
		for range maxKept + 2 {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			k.message(state, []*os.File{r})
		}
		files, env, err := k.Next()
		if err != nil {
			t.Fatal(err)
		}
		Close(files)
		if len(files) > maxKept {
			t.Errorf("%d descriptors", len(files))
		}
		for _, e := range env {
			if names, ok := strings.CutPrefix(e, "LISTEN_FDNAMES="); ok && len(files) > 0 && strings.Count(names, ":")+1 != len(files) {
				t.Errorf("%q for %d descriptors", names, len(files))
			}
		}
		k.message("FDSTOREREMOVE=1\nFDNAME=a", nil)
		for _, file := range k.files {
			file.file.Close()
		}
		rights([]byte(state))
	})
}

// TestClosedWithoutStoring: a descriptor that is not to be kept is closed, which
// is what a barrier waits for.
func TestClosedWithoutStoring(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	(&Keeper{}).message("BARRIER=1", []*os.File{w})
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}

// TestOneKeeper: a second one would have the first one's service tell it
// everything.
func TestOneKeeper(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	first, err := NewKeeper(socket, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKeeper(socket, func(string) {}); err == nil || !strings.Contains(err.Error(), "another lxcfs-nri supervise has "+socket) {
		t.Errorf("a second keeper: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second, err := NewKeeper(socket, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
