package attach

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// OnThread runs a function on a thread that ends with it: one that has entered
// namespaces can't be led back. It returns when that is done.
func OnThread(do func()) {
	done := make(chan struct{})
	go func() { onThread(do); close(done) }()
	<-done
}

func onThread(do func()) {
	runtime.LockOSThread() // and never unlocked
	if unix.Gettid() == unix.Getpid() {
		// The main thread can't end, and /proc/<pid> shows the process by it.
		OnThread(do)
		runtime.UnlockOSThread()
		return
	}
	do()
}
