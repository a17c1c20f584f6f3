package fusefs_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/lxcfs-nri/lxcfs-nri/cgroup"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fixture"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// Parts of linux/fuse.h.
const (
	inHeaderSize, outHeaderSize = 40, 16
	opForget, opInit            = 2, 26
	opInterrupt, opNotifyReply  = 36, 41
	opBatchForget, opLast       = 42, 64
)

// request makes a request out of any bytes: what the kernel vouches for is put
// right, which is the size, and that numbers of nodes and handles are often such
// as there are.
func request(b []byte) []byte {
	in := make([]byte, max(len(b), inHeaderSize), 8192)
	copy(in, b)
	in = in[:min(len(in), 8192)]
	order := binary.NativeEndian
	order.PutUint32(in, uint32(len(in)))
	order.PutUint32(in[4:], order.Uint32(in[4:])%opLast)
	if in[16]%2 == 0 { // else any number
		order.PutUint64(in[16:], uint64(in[17]%3)<<40|uint64(in[18]%40))
	}
	return in
}

// requestOf is a request with a body.
func requestOf(op uint32, node uint64, body ...byte) []byte {
	order := binary.NativeEndian
	in := make([]byte, inHeaderSize, inHeaderSize+len(body))
	order.PutUint32(in[4:], op)
	order.PutUint64(in[8:], 7)
	in[17], in[18] = byte(node>>40), byte(node)
	return append(in, body...)
}

// FuzzRequest: whatever is asked, the answer is well-formed, and nothing breaks.
func FuzzRequest(f *testing.F) {
	c := fixture.Load(f, "../cgroup/testdata/v2-limited.txtar")
	if err := os.MkdirAll(filepath.Join(c.Root, "proc/pressure"), 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Root, "proc/pressure/cpu"), nil, 0o666); err != nil {
		f.Fatal(err)
	}
	groups, err := cgroup.Open(c.Root)
	if err != nil {
		f.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	registry := view.NewRegistry(view.NewHost(c.Root), groups, log, view.Options{})
	f.Cleanup(registry.Close)
	if _, err := registry.Add(view.Container{ID: "c1", PID: c.PID}); err != nil {
		f.Fatal(err)
	}
	shared, err := fusefs.NewShared()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { shared.Close() }) //nolint:errcheck // memory of a test
	reply := fusefs.New(registry, log, everything).Protocol(shared)
	handle := func(in []byte) []byte {
		out := make([]byte, 32*os.Getpagesize()+4096)
		return out[:reply(in, out)]
	}
	// struct fuse_init_in: 7.45, readahead, all flags.
	init := requestOf(opInit, 0, 7, 0, 0, 0, 45, 0, 0, 0, 0, 0, 2, 0, 0xfb, 0xff, 0xff, 0xff)
	init = append(init, make([]byte, 48)...)
	binary.NativeEndian.PutUint32(init, uint32(len(init)))
	if out := handle(init); len(out) < 24 {
		f.Fatalf("INIT: %q", out)
	}
	for op := range uint32(opLast) {
		f.Add(requestOf(op, 1))
		f.Add(requestOf(op, 1<<40|5, make([]byte, 40)...))
		f.Add(requestOf(op, 1<<40|1, []byte("proc\x00meminfo\x00")...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := request(b)
		op := binary.NativeEndian.Uint32(in[4:])
		if op == opInit {
			return // comes once, from the kernel
		}
		out := handle(append([]byte(nil), in...))
		if len(out) == 0 {
			silent := op == opForget || op == opBatchForget || op == opInterrupt || op == opNotifyReply
			if !silent {
				t.Errorf("operation %d gets no answer", op)
			}
			return
		}
		if len(out) < outHeaderSize {
			t.Fatalf("operation %d: an answer of %d bytes", op, len(out))
		}
		size, code, unique := binary.NativeEndian.Uint32(out), int32(binary.NativeEndian.Uint32(out[4:])), out[8:16]
		if int(size) != len(out) || code > 0 || code <= -512 || string(unique) != string(in[8:16]) {
			t.Errorf("operation %d: size %d of %d, error %d, unique %x of %x", op, size, len(out), code, unique, in[8:16])
		}
		if code != 0 && len(out) != outHeaderSize {
			t.Errorf("operation %d: %d bytes beside error %d", op, len(out)-outHeaderSize, code)
		}
	})
}

// FuzzTriggerRecord: what a process finds in the record of a trigger is what one before
// has written, and whatever else is there does no harm.
func FuzzTriggerRecord(f *testing.F) {
	shared, err := fusefs.NewShared()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { shared.Close() }) //nolint:errcheck // memory of a test
	f.Add("/sys/fs/cgroup/a/cpu.pressure", []byte("some 1000 2000000\x00"), uint16(0), []byte(nil))
	f.Add("", []byte(nil), uint16(64), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, file string, text []byte, at uint16, garbage []byte) {
		const maxFile, maxText = 4096 - 104, view.MaxTrigger
		gotFile, gotText := shared.KeepTrigger(file, text, at, garbage)
		if len(garbage) == 0 && (gotFile != file[:min(len(file), maxFile)] || string(gotText) != string(text[:min(len(text), maxText)])) {
			t.Errorf("got %q, %q, want %q, %q", gotFile, gotText, file, text)
		}
		if len(gotFile) > maxFile || len(gotText) > maxText {
			t.Errorf("got %q, %q", gotFile, gotText)
		}
	})
}
