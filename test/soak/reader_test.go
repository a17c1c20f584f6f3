package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// readerArgument before a JSON of readings makes the test binary a reader: a
// process of the container, which reads until its input ends, and tells then
// what it has seen.
const readerArgument = "soak-reader"

// readingLine is what it says once it reads.
const readingLine = "reading\n"

// hungAfter is when a read that has not ended counts as hung.
var hungAfter = rig.Limit(10 * time.Second)

// The ways of reading.
const (
	wayOpen     = "open-read-close"
	wayPread    = "pread"
	waySmall    = "small reads"
	waySendfile = "sendfile"
)

// reading is what some threads of a reader do.
type reading struct {
	Way      string
	Root     string   // the folder that holds proc/ and sys/
	Files    []string // all in turn; all that are served if there are none
	Threads  int
	Pause    time.Duration // between two texts
	MemTotal uint64        // as meminfo must show
	// MayEnd says that the container may end meanwhile: ESRCH is an answer then, and
	// ENOENT when its folder is opened later.
	MayEnd bool
}

// seen is what readers have seen.
type seen struct {
	Texts, Calls               int
	Failed, Torn, Hung, Ended  int
	Refused                    int      // sendfile(2), which falls back to read(2)
	Micros                     []uint32 // of each call
	P50, P99, Longest, Elapsed time.Duration
	Examples                   []string
}

// thread is one of a reader's.
type thread struct {
	reading
	seen
	checker
	since atomic.Int64 // the call at hand began then; 0: none
	hung  atomic.Bool
	buf   []byte
	kept  map[string]int
	stop  *atomic.Bool
	done  atomic.Bool
}

func beReader(arg string) error {
	var rs []reading
	if err := json.Unmarshal([]byte(arg), &rs); err != nil {
		return err
	}
	var stop atomic.Bool
	var all []*thread
	var wg, begun sync.WaitGroup
	for _, r := range rs {
		if len(r.Files) == 0 {
			tree, err := cpuTree(r.Root)
			if err != nil {
				return err
			}
			r.Files = slices.Concat(namedFiles(), tree)
		}
		for range r.Threads {
			t := &thread{reading: r, checker: checker{memTotal: r.MemTotal}, buf: make([]byte, 64<<10), kept: map[string]int{}, stop: &stop}
			all = append(all, t)
			begun.Add(1)
			wg.Go(func() {
				t.run(begun.Done)
				t.done.Store(true)
			})
		}
	}
	ended := make(chan struct{})
	go func() {
		begun.Wait()
		os.Stdout.WriteString(readingLine) //nolint:errcheck // the test waits for it
		io.Copy(io.Discard, os.Stdin)      //nolint:errcheck // its end is what counts
		stop.Store(true)
		wg.Wait()
		close(ended)
	}()
	watch(all, &stop, ended)
	return json.NewEncoder(os.Stdout).Encode(summary(all))
}

// watch notes hung calls, and waits for the end, or for all that does not hang.
func watch(all []*thread, stop *atomic.Bool, ended <-chan struct{}) {
	var last time.Time
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Second):
		}
		for _, t := range all {
			if since := t.since.Load(); since != 0 && time.Since(time.Unix(0, since)) > hungAfter {
				t.hung.Store(true)
			}
		}
		if last.IsZero() && stop.Load() {
			last = time.Now()
		}
		if !last.IsZero() && time.Since(last) > 2*hungAfter {
			return
		}
	}
}

func summary(all []*thread) seen {
	var s seen
	for _, t := range all {
		if t.hung.Load() {
			s.Hung++
			s.Examples = append(s.Examples, fmt.Sprintf("%s below %s hung", t.Way, t.Root))
		}
		if t.done.Load() {
			s.add(t.seen)
		}
	}
	return s
}

func (s *seen) add(o seen) {
	s.Texts += o.Texts
	s.Calls += o.Calls
	s.Failed += o.Failed
	s.Torn += o.Torn
	s.Hung += o.Hung
	s.Ended += o.Ended
	s.Refused += o.Refused
	s.Micros = append(s.Micros, o.Micros...)
	s.Examples = append(s.Examples, o.Examples...)
}

// times works out how long calls took.
func (s *seen) times() {
	if len(s.Micros) == 0 {
		return
	}
	slices.Sort(s.Micros)
	at := func(i int) time.Duration { return time.Duration(s.Micros[i]) * time.Microsecond }
	s.P50, s.P99, s.Longest = at(len(s.Micros)/2), at(len(s.Micros)*99/100), at(len(s.Micros)-1)
}

func (t *thread) run(begun func()) {
	for i := 0; i == 0 || !t.stop.Load(); i++ {
		file := t.Files[i%len(t.Files)]
		text, err := t.text(file, i)
		switch {
		case err == nil:
			t.Texts++
			if err := t.check(file, text); err != nil {
				t.Torn++
				t.example(t.Torn, "%s: torn: %v", t.Way, err)
			}
		case t.MayEnd && (errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)):
			t.Ended++
			time.Sleep(time.Millisecond)
		default:
			t.Failed++
			t.example(t.Failed, "%s: %s below %s: %v", t.Way, file, t.Root, err)
			time.Sleep(time.Millisecond)
		}
		if i == 0 {
			begun()
		}
		if t.Pause > 0 {
			time.Sleep(t.Pause)
		}
	}
	for _, fd := range t.kept {
		unix.Close(fd) //nolint:errcheck // only read
	}
}

// example keeps the first few of what goes wrong in one way.
func (t *thread) example(times int, format string, args ...any) {
	if times <= 3 {
		t.Examples = append(t.Examples, fmt.Sprintf(format, args...))
	}
}

// call times one system call.
func (t *thread) call(f func() (int, error)) (int, error) {
	for {
		start := time.Now()
		t.since.Store(start.UnixNano())
		n, err := f()
		t.since.Store(0)
		t.Calls++
		t.Micros = append(t.Micros, uint32(time.Since(start).Microseconds()))
		if !errors.Is(err, unix.EINTR) { // the runtime's signals
			return n, err
		}
	}
}

func (t *thread) open(file string) (int, error) {
	return t.call(func() (int, error) { return unix.Open(filepath.Join(t.Root, file), unix.O_RDONLY|unix.O_CLOEXEC, 0) })
}

// smallSizes are of reads that get a text in many pieces.
var smallSizes = []int{1, 7, 61}

func (t *thread) text(file string, turn int) (string, error) {
	if t.Way == wayPread {
		fd, ok := t.kept[file]
		if !ok {
			var err error
			if fd, err = t.open(file); err != nil {
				return "", err
			}
			t.kept[file] = fd
		}
		n, err := t.call(func() (int, error) { return unix.Pread(fd, t.buf, 0) })
		return string(t.buf[:max(0, n)]), err
	}
	fd, err := t.open(file)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	size := len(t.buf)
	switch t.Way {
	case waySmall:
		size = smallSizes[turn%len(smallSizes)]
		if size == 1 && file != "proc/uptime" && (turn == 0 || turn%7 != 0) {
			size = 61 // a text of 2000 bytes in as many calls, but not each time, nor the first, which is waited for
		}
	case waySendfile:
		if text, err := t.sendfile(fd); !errors.Is(err, unix.EINVAL) {
			return text, err
		}
		t.Refused++
	}
	var text []byte
	for {
		n, err := t.call(func() (int, error) { return unix.Read(fd, t.buf[:size]) })
		if err != nil {
			return "", err
		}
		if n == 0 {
			return string(text), nil
		}
		text = append(text, t.buf[:n]...)
	}
}

// sendfile does as cat of busybox, which reads where it is refused.
func (t *thread) sendfile(fd int) (string, error) {
	out, err := unix.MemfdCreate("soak", unix.MFD_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(out) //nolint:errcheck // memory
	for {
		n, err := t.call(func() (int, error) { return unix.Sendfile(out, fd, nil, 1<<20) })
		if err != nil {
			return "", err
		}
		if n == 0 {
			n, err = unix.Pread(out, t.buf, 0)
			return string(t.buf[:max(0, n)]), err
		}
	}
}
