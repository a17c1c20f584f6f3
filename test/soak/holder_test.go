package soak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// holderArgument before a JSON of a holding makes the test binary a process that
// opens many files, reads a piece of each, and keeps them.
const holderArgument = "soak-holder"

type holding struct {
	Root  string
	Count int
}

// perHolder is below the limit of open files that most machines have.
const perHolder = 15_000

// held is what a holder tells: once all are open, and again, of reading on, when
// a line comes in.
type held struct {
	Open, Failed int
	Example      string
}

func beHolder(arg string) error {
	var h holding
	if err := json.Unmarshal([]byte(arg), &h); err != nil {
		return err
	}
	files := namedFiles()
	fds := make([]int, 0, h.Count)
	b := make([]byte, 20)
	for i := range h.Count {
		fd, err := unix.Open(filepath.Join(h.Root, files[i%len(files)]), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		if n, err := unix.Pread(fd, b[:1], 0); err != nil || n != 1 {
			return fmt.Errorf("read one byte: %d, %w", n, err)
		}
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(held{Open: len(fds)}); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadString('\n'); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		again := held{Open: len(fds)}
		for i := 0; i < len(fds); i += 100 {
			if n, err := unix.Pread(fds[i], b, 1); err != nil || n < 1 {
				again.Failed++
				again.Example = fmt.Sprintf("%s: %d, %v", files[i%len(files)], n, err)
			}
		}
		if err := out.Encode(again); err != nil {
			return err
		}
	}
}

// holder is such a process, seen from the test.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func newHolder(t *testing.T, in command, h holding) *holder {
	t.Helper()
	arg, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &holder{cmd: in(exe, holderArgument, string(arg))}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

func (h *holder) end() {
	if h.cmd.ProcessState == nil {
		h.in.Close()
		h.cmd.Wait() //nolint:errcheck // what it told counts
	}
}

// tells waits for what it says next.
func (h *holder) tells(t *testing.T) held {
	t.Helper()
	var got held
	if err := h.out.Decode(&got); err != nil {
		t.Fatalf("a process with many open files: %v", err)
	}
	return got
}

// readOn has it read a piece more of some of its files.
func (h *holder) readOn(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(h.in, "\n"); err != nil {
		t.Fatal(err)
	}
	if got := h.tells(t); got.Failed > 0 {
		t.Errorf("%d of %d files can't be read on: %s", got.Failed, got.Open/100, got.Example)
	}
}
