package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/lxcfs-nri/lxcfs-nri/attach"
	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// work is what is done to mounts of containers. A process of its own does it: a
// path that leads into a FUSE file system asks its daemon, and who waits for the
// answer to a request that was read can't be killed (request_wait_answer in
// fs/fuse/dev.c). Were it a thread of the daemon, and the answer its own to give,
// or a container's, then a daemon that is killed would never end, and no other
// one go on.
type work struct {
	Ours attach.Ours `json:"ours"`
	Jobs []job       `json:"jobs,omitempty"`
	Heal *healer     `json:"heal,omitempty"`
	// Detach takes the file system's files from every container, known or not.
	Detach bool `json:"detach,omitempty"`
}

// job is for one container: it gets Mounts, or loses what is on Targets.
type job struct {
	PID int `json:"pid"`
	// Rootfs is what will be its root, where it is being created.
	Rootfs  string         `json:"rootfs,omitempty"`
	Mounts  []attach.Mount `json:"mounts,omitempty"`
	Targets []string       `json:"targets,omitempty"`
}

// done is what came of work: one result for each job, and how many mounts were
// healed and taken away elsewhere.
type done struct {
	Jobs   []result `json:"jobs"`
	Healed int      `json:"healed"`
	Gone   int      `json:"gone"`
	Error  string   `json:"error,omitempty"`
}

// result counts the mounts that a job has made or taken away.
type result struct {
	Mounts int    `json:"mounts"`
	Error  string `json:"error,omitempty"`
	Ended  bool   `json:"ended,omitempty"` // the process has
}

func (r *result) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Ended:
		return told{r.Error, attach.ErrGone}
	}
	return errors.New(r.Error)
}

// told is an error of another process, with what is to be known of it.
type told struct {
	text string
	is   error
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.is }

// apartName is what the process that does the work is called.
const apartName = "lxcfs-nri-attach"

// Apart says that this process was started to work on mounts for a daemon, and
// has done so. Every program with an Attacher calls it first.
func Apart() bool {
	if os.Args[0] != apartName {
		return false
	}
	// Nobody reads the answer where the daemon was killed meanwhile, but the work
	// is to be done.
	var w work
	if err := json.NewDecoder(os.Stdin).Decode(&w); err != nil {
		return true // the daemon was killed before it had told all
	}
	json.NewEncoder(os.Stdout).Encode(w.do()) //nolint:errcheck // as above
	return true
}

const (
	// apartAtATime bounds the processes that wait for what does not answer.
	apartAtATime = 16
	// apartPatience is how long work is waited for.
	apartPatience = time.Minute
)

var apartSlots = make(chan struct{}, apartAtATime)

// apart has work done by a process of its own, and waits for it for a while.
// What lasts longer is not given up: it goes on when it can.
func (w *work) apart(patience time.Duration) (*done, error) {
	request, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case apartSlots <- struct{}{}:
	case <-late.C:
		return nil, fmt.Errorf("%d attempts wait for file systems of containers that do not answer: end those containers", apartAtATime)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{apartName}
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's ^C is for the daemon
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		<-apartSlots
		return nil, fmt.Errorf("start a process that enters containers: %w", err)
	}
	answer := make(chan error, 1)
	var d done
	go func() {
		defer func() { <-apartSlots }()
		err := json.NewDecoder(out).Decode(&d)
		answer <- err
		cmd.Wait() //nolint:errcheck // it has said what there is to say, or that is an error already
	}()
	select {
	case err := <-answer:
		if err == nil && len(d.Jobs) != len(w.Jobs) {
			err = errors.New("some of the work has no result")
		}
		if err != nil {
			return nil, fmt.Errorf("the process that enters containers: %w", err)
		}
		return &d, nil
	case <-late.C:
		return nil, fmt.Errorf("entering containers takes longer than %v", patience)
	}
}

// jobsAtATime is how many containers are entered at a time: one that does not
// answer must not keep the others waiting.
const jobsAtATime = 8

// do does the work.
func (w *work) do() done {
	d := done{Jobs: make([]result, len(w.Jobs))}
	free := make(chan struct{}, jobsAtATime)
	var all sync.WaitGroup
	for i := range w.Jobs {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			n, err := w.Jobs[i].do(w.Ours.FSType)
			d.Jobs[i] = result{Mounts: n}
			if err != nil {
				d.Jobs[i].Error, d.Jobs[i].Ended = err.Error(), errors.Is(err, attach.ErrGone)
			}
		})
	}
	all.Wait()
	var errGroups, errHeal, errDetach error
	if w.Heal != nil {
		w.Heal.groups, errGroups = view.OpenGroups()
		d.Healed, d.Gone, errHeal = attach.Heal(w.Ours, w.Heal.replaces)
	}
	if w.Detach {
		d.Gone, errDetach = attach.DetachAll(w.Ours)
	}
	if err := errors.Join(errGroups, errHeal, errDetach); err != nil {
		d.Error = err.Error()
	}
	return d
}

func (j *job) do(fsType string) (int, error) {
	switch {
	case len(j.Targets) > 0:
		return attach.Remove(j.PID, fsType, j.Targets)
	case j.Rootfs != "":
		return attach.EnsureIn(j.PID, j.Rootfs, fsType, j.Mounts)
	default:
		return attach.Ensure(j.PID, fsType, j.Mounts)
	}
}
