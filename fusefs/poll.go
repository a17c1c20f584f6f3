package fusefs

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Polls and notifications of the FUSE protocol (linux/fuse.h). go-fuse answers a poll
// with ENOSYS, upon which the kernel asks no more.

// pollIn is a struct fuse_poll_in, with its header.
type pollIn struct {
	fuse.InHeader
	Fh, Kh        uint64
	Flags, Events uint32
}

// pollOut is a struct fuse_poll_out, with its header.
type pollOut struct {
	fuse.OutHeader
	Revents, _ uint32
}

// pollWakeup is a struct fuse_notify_poll_wakeup_out, with its header.
type pollWakeup struct {
	fuse.OutHeader
	Kh uint64
}

// replyToPoll makes the answer to a poll.
func replyToPoll(poll func(*pollIn) uint32, in, out []byte) (n int) {
	answer := (*pollOut)(unsafe.Pointer(&out[0]))
	*answer = pollOut{OutHeader: fuse.OutHeader{
		Length: uint32(unsafe.Sizeof(*answer)), Unique: (*fuse.InHeader)(unsafe.Pointer(&in[0])).Unique,
	}}
	if len(in) < int(unsafe.Sizeof(pollIn{})) {
		answer.Length, answer.Status = uint32(unsafe.Sizeof(answer.OutHeader)), -int32(unix.EINVAL)
	} else {
		answer.Revents = poll((*pollIn)(unsafe.Pointer(&in[0])))
	}
	return int(answer.Length)
}

// notifier returns a function that has the kernel poll an open file again, which it
// names by the number that came with an earlier poll. Should the file be closed
// meanwhile the kernel does nothing.
func notifier(device int) func(kh uint64) {
	const notifyPoll = 1 // FUSE_NOTIFY_POLL
	return func(kh uint64) {
		message := pollWakeup{OutHeader: fuse.OutHeader{Length: uint32(unsafe.Sizeof(pollWakeup{})), Status: notifyPoll}, Kh: kh}
		//nolint:errcheck // the connection has ended, and all polls with it
		unix.Write(device, unsafe.Slice((*byte)(unsafe.Pointer(&message)), message.Length))
	}
}
