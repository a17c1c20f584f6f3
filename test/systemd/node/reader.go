package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/systemd"
)

// reader reads the files of the container that it runs in.
type reader struct {
	systemd.Counts
	file   string // for the counts
	limit  int    // of the container's memory, in kB
	keys   map[bool]string
	uptime float64
}

// read reads for ever. It is up when there are counts.
func read(name string, limit int) error {
	r := &reader{file: filepath.Join(systemd.Dir, name), limit: limit, keys: map[bool]string{}}
	if err := r.tell(); err != nil {
		return err
	}
	fmt.Println("up")
	os.Stdout.Close()
	for told := time.Now(); ; {
		r.meminfo()
		r.checkUptime()
		if time.Since(told) > 100*time.Millisecond {
			if err := r.tell(); err != nil {
				return err
			}
			told = time.Now()
		}
	}
}

func (r *reader) tell() error {
	b, err := json.Marshal(r.Counts)
	if err == nil {
		err = os.WriteFile(r.file+".new", b, 0o644)
	}
	if err != nil {
		return err
	}
	return os.Rename(r.file+".new", r.file)
}

// whole reads a file in small pieces, between which the daemon may have become
// another process. "" where that failed, which is counted.
func (r *reader) whole(file string) string {
	var all []byte
	piece := make([]byte, 200)
	begun := time.Now()
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	r.took(begun)
	if err != nil {
		r.fail(file, err)
		return ""
	}
	defer unix.Close(fd) //nolint:errcheck // it was only read
	for {
		begun := time.Now()
		n, err := unix.Read(fd, piece)
		r.took(begun)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			r.fail(file, err)
			return ""
		}
		if n == 0 {
			return string(all)
		}
		all = append(all, piece[:n]...)
		time.Sleep(time.Millisecond)
	}
}

// took notes how long a call took.
func (r *reader) took(begun time.Time) {
	if d := time.Since(begun); d > systemd.Stall {
		r.Stalls = append(r.Stalls, int(d.Milliseconds()))
	}
}

func (r *reader) fail(file string, err error) {
	if r.Failed++; errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.Last = fmt.Sprintf("%s: %v", file, err)
	time.Sleep(10 * time.Millisecond)
}

var line = regexp.MustCompile(`^([A-Za-z0-9_()]+): +\d+( kB)?$`)

// meminfo checks that each line is one, and that there are the same as ever.
func (r *reader) meminfo() {
	text := r.whole("/proc/meminfo")
	if text == "" {
		return
	}
	var keys strings.Builder
	for l := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		m := line.FindStringSubmatch(l)
		if m == nil {
			r.Torn++
			r.Last = fmt.Sprintf("the line %q in %q", l, text)
			return
		}
		keys.WriteString(m[1] + " ")
	}
	ours := strings.Contains(text, fmt.Sprintf("MemTotal: %14d kB\n", r.limit))
	if r.keys[ours] == "" {
		r.keys[ours] = keys.String()
	}
	switch {
	case !strings.HasPrefix(text, "MemTotal:") || !strings.HasSuffix(text, "\n") || keys.String() != r.keys[ours]:
		r.Torn++
		r.Last = text
	case ours:
		r.Ours++
	default:
		r.Kernels++
	}
}

// checkUptime checks that a container's clock goes on.
func (r *reader) checkUptime() {
	var ts unix.Timespec
	cerr := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	text := r.whole("/proc/uptime")
	if text == "" {
		return
	}
	now, err := strconv.ParseFloat(strings.Fields(text + " x")[0], 64)
	if err != nil || cerr != nil {
		r.Torn++
		r.Last = fmt.Sprintf("uptime %q", text)
		return
	}
	// The kernel's is not less than before; a container's is, unless reading it took
	// as long as the machine had run when the container was started.
	if before := float64(ts.Nano()) / 1e9; now > before-1 {
		return // the kernel's
	}
	if now < r.uptime {
		r.Back++
		r.Last = fmt.Sprintf("uptime %s after %.2f", text, r.uptime)
	}
	r.uptime = now
}
