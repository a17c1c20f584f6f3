package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// workArgument makes this program the work in a container. It says when all is
// set up, and goes on until it is killed.
const workArgument = "compat-work"

func work(args []string) (err error) {
	switch args[0] {
	case "use":
		err = use(args[1])
	case "wait":
		n, bad := strconv.Atoi(args[1])
		if bad != nil {
			return bad
		}
		runtime.GOMAXPROCS(n + 2) // each holds one for ever
		for range n {
			go wait()
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "done")
	for args[0] == "use" {
		thirdBusy()
	}
	select {}
}

// use takes 60 MiB of memory and writes 16 MiB to a file, past the page cache.
func use(file string) error {
	b, err := unix.Mmap(-1, 0, 60<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 64 {
		b[i] = byte(i/64*7919 + 1)
	}
	fd, err := unix.Open(file, unix.O_DIRECT|unix.O_WRONLY|unix.O_CREAT, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	const piece = 64 << 10
	for at := 0; at < 16<<20; at += piece {
		if _, err := f.Write(b[at : at+piece]); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	return nil
}

func thirdBusy() {
	for until := time.Now().Add(10 * time.Millisecond); time.Now().Before(until); {
	}
	time.Sleep(20 * time.Millisecond)
}

// wait has its thread wait for a child as vfork(2) does, which the kernel counts
// as a wait for the disk (state D): a load that costs nothing. The child is the
// kernel's alone, Go does not know of it; it must not call anything that grows
// the stack or schedules.
//
//go:nosplit
func wait() {
	runtime.LockOSThread()
	pid, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, unix.CLONE_VFORK|uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	for pid == 0 {
		var forever unix.Timespec
		forever.Sec = 1 << 30
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&forever)), 0, 0, 0) //nolint:errcheck // it would be tried again
	}
}

// tell prints what Go's runtime sees.
func tell(args []string, out io.Writer) {
	if len(args) > 0 {
		fmt.Fprintln(out, runtime.Version())
		return
	}
	fmt.Fprintln(out, "NumCPU", runtime.NumCPU())
	fmt.Fprintln(out, "GOMAXPROCS", runtime.GOMAXPROCS(0))
}
