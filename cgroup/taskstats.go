package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// taskstats asks the kernel in which states a v1 group's tasks are: one message
// a group in place of one file a task. kernel/taskstats.c, cgroupstats_build in
// kernel/cgroup/cgroup-v1.c; Documentation/accounting/cgroupstats.rst.
type taskstats struct {
	mu     sync.Mutex // held across a question and its answer
	fd     int        // generic netlink, 0: not open
	family uint16     // the kernel's number for TASKSTATS
	seq    uint32     // of the last question, so that a late answer is known as one
	none   error      // why this kernel, or this network namespace, has none
}

// answerTime bounds the wait for an answer, which the kernel has ready when the
// question is sent.
var answerTime = unix.Timeval{Sec: 1}

// errAnswer says that no sense can be made of an answer.
var errAnswer = errors.New("not an answer to the question")

// group counts the tasks of one v1 group, without its descendants.
func (s *taskstats) group(dir string) (st unix.CGroupStats, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.none != nil {
		return st, s.none
	}
	if s.fd == 0 {
		if err := s.openLocked(); err != nil {
			return st, err
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // read-only, nothing to lose
	number := binary.NativeEndian.AppendUint32(nil, uint32(fd))
	err = s.askLocked(s.family, unix.CGROUPSTATS_CMD_GET, unix.CGROUPSTATS_CMD_ATTR_FD, number, func(answer []byte) error {
		st, err = parseGroupStats(answer)
		return err
	})
	if err != nil {
		return st, fmt.Errorf("asking for the task states of %s: %w", dir, err)
	}
	return st, nil
}

// openLocked opens the socket and finds the family. A kernel without it, or one
// that refuses the socket, is not asked again.
func (s *taskstats) openLocked() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		s.none = fmt.Errorf("netlink: %w", err)
		return s.none
	}
	s.fd = fd
	// Connected to the kernel, the socket takes nothing from other processes.
	err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &answerTime)
	}
	if err == nil {
		err = s.askLocked(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, unix.CTRL_ATTR_FAMILY_NAME,
			[]byte(unix.TASKSTATS_GENL_NAME+"\x00"), func(answer []byte) (err error) {
				s.family, err = parseFamily(answer)
				return err
			})
	}
	if err != nil {
		err = fmt.Errorf("netlink family %s: %w", unix.TASKSTATS_GENL_NAME, err)
		s.closeLocked()
		s.none = err
	}
	return err
}

func (s *taskstats) closeLocked() {
	if s.fd != 0 {
		unix.Close(s.fd) //nolint:errcheck // nothing to lose
		s.fd = 0
	}
}

// askLocked sends a command with one attribute and hands the answer to use. A
// socket that fails is opened anew for the next question.
func (s *taskstats) askLocked(family uint16, command uint8, attribute uint16, value []byte, use func([]byte) error) error {
	s.seq++
	if _, err := unix.Write(s.fd, appendQuestion(nil, family, command, s.seq, attribute, value)); err != nil {
		s.closeLocked()
		return err
	}
	var buf [4096]byte
	n, err := unix.Read(s.fd, buf[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(s.fd, buf[:])
	}
	if err != nil {
		s.closeLocked()
		return err
	}
	answer, err := parseAnswer(buf[:n], s.seq)
	if errors.Is(err, errAnswer) {
		s.closeLocked()
	}
	if err != nil {
		return err
	}
	return use(answer)
}

// Sizes of a netlink message's head, of generic netlink's, of an attribute's.
const (
	netlinkHead = unix.SizeofNlMsghdr
	genericHead = unix.GENL_HDRLEN
	attrHead    = unix.SizeofNlAttr
)

// appendQuestion makes a message of one attribute (netlink(7)).
func appendQuestion(b []byte, family uint16, command uint8, seq uint32, attribute uint16, value []byte) []byte {
	e := binary.NativeEndian
	size := netlinkHead + genericHead + attrHead + (len(value)+3)&^3
	b = e.AppendUint32(b, uint32(size))
	b = e.AppendUint16(b, family)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST)
	b = e.AppendUint32(b, seq)
	b = e.AppendUint32(b, 0) // from: the kernel fills it in
	b = append(b, command, unix.TASKSTATS_GENL_VERSION, 0, 0)
	b = e.AppendUint16(b, uint16(attrHead+len(value)))
	b = e.AppendUint16(b, attribute)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseAnswer gives the attributes of the answer to question seq, or the error
// that the kernel answered with.
func parseAnswer(b []byte, seq uint32) ([]byte, error) {
	e := binary.NativeEndian
	if len(b) < netlinkHead+4 {
		return nil, errAnswer
	}
	size := e.Uint32(b)
	if uint64(size) > uint64(len(b)) || size < netlinkHead+4 || e.Uint32(b[8:]) != seq {
		return nil, errAnswer
	}
	if e.Uint16(b[4:]) == unix.NLMSG_ERROR {
		if code := int32(e.Uint32(b[netlinkHead:])); code < 0 && code > -4096 {
			return nil, unix.Errno(-code)
		}
		return nil, errAnswer
	}
	return b[netlinkHead+genericHead : size], nil
}

// attribute finds the value of one attribute.
func attribute(b []byte, which uint16) ([]byte, error) {
	e := binary.NativeEndian
	for len(b) >= attrHead {
		size := int(e.Uint16(b))
		if size < attrHead || size > len(b) {
			break
		}
		if e.Uint16(b[2:]) == which {
			return b[attrHead:size], nil
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil, errAnswer
}

func parseFamily(b []byte) (uint16, error) {
	v, err := attribute(b, unix.CTRL_ATTR_FAMILY_ID)
	if err != nil || len(v) < 2 {
		return 0, errAnswer
	}
	return binary.NativeEndian.Uint16(v), nil
}

func parseGroupStats(b []byte) (st unix.CGroupStats, err error) {
	v, err := attribute(b, unix.CGROUPSTATS_TYPE_CGROUP_STATS)
	if err != nil || len(v) < binary.Size(st) {
		return st, errAnswer
	}
	_, err = binary.Decode(v, binary.NativeEndian, &st)
	return st, err
}
