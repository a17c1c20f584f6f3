package hook

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/internal/mounttable"
)

// Hook is one run of the hook.
type Hook struct {
	RunDir     string // the daemon's
	Mountpoint string // of its file system
	// Required has a container fail that does not get its files, but for those
	// that the policy leaves alone.
	Required bool
	// Config is the daemon's configuration, which may say the same. It need not be
	// there.
	Config string
	// Timeout bounds all of it: a container's start waits.
	Timeout time.Duration
}

// Run does what is due for the container whose state is read. It says in one
// line what came of it. The error is for a container that can't have its files
// though they are Required: a runtime lets it fail then.
func (h *Hook) Run(stdin io.Reader) (string, error) {
	deadline := time.Now().Add(h.Timeout)
	s, err := readState(stdin)
	if err != nil {
		return h.failed(err)
	}
	if s.Status == stopped {
		// The container has ended whether the daemon hears of it or not.
		_, err := ask(h.RunDir, Request{ID: s.ID, Gone: true}, deadline)
		if err != nil && !errors.Is(err, errNoDaemon) {
			return fmt.Sprintf("container %s: %v", s.ID, err), nil
		}
		return "", nil
	}
	line, err := h.create(&s, deadline)
	if err != nil {
		return h.failed(fmt.Errorf("container %s has the host's files: %w", s.ID, err))
	}
	return fmt.Sprintf("container %s: %s", s.ID, line), nil
}

// failed says why a container has no files of its own, which is an error where
// they are required.
func (h *Hook) failed(err error) (string, error) {
	switch {
	case h.Required:
		return "", fmt.Errorf("%w: start lxcfs-nri, or remove --required from the hook", err)
	case requiredBy(h.Config):
		return "", fmt.Errorf("%w: start lxcfs-nri, or remove \"required: true\" from %s", err, h.Config)
	}
	return err.Error(), nil
}

// create gives a container its files, and says how.
func (h *Hook) create(s *state, deadline time.Time) (string, error) {
	mounts, err := mounttable.Own(nil)
	if err != nil {
		return "", err
	}
	at, err := find(s.Bundle, mounts)
	if err != nil {
		return "", err
	}
	req := Request{ID: s.ID, PID: s.PID, Rootfs: at.rootfs, Annotations: known(s.Annotations)}
	if at.here {
		req.PID = 0
	} else if s.PID == 0 {
		return "", fmt.Errorf("no procfs is mounted below %s, and the runtime names no process: the hook is for the stages createRuntime, createContainer, prestart and poststop", at.rootfs)
	}
	answer, err := ask(h.RunDir, req, deadline)
	if errors.Is(err, errNoDaemon) {
		return h.without(s, req, at, mounts, deadline, err)
	}
	return told(answer), err
}

// without is for where the daemon has not been asked.
func (h *Hook) without(s *state, req Request, at place, mounts []*mountinfo.Info, deadline time.Time, why error) (string, error) {
	key, inject := annotated(s.Annotations)
	if key != "" && !inject {
		return "left alone: annotation " + key, nil
	}
	if key == "" && at.hostPID {
		return "left alone: shares the host's PID namespace", nil
	}
	if err := served(h.Mountpoint, mounts, deadline); err != nil {
		return "", fmt.Errorf("%w; %w", why, err)
	}
	if errors.Is(why, unix.ECONNREFUSED) || errors.Is(why, os.ErrNotExist) {
		// Its files answer: it was being started.
		if answer, err := ask(h.RunDir, req, deadline); !errors.Is(err, errNoDaemon) {
			return told(answer), err
		}
	}
	made, err := mountTree(h.Mountpoint, req.PID, at, deadline)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files mounted that are resolved by their reader (%v)", made, why), nil
}

// maxConfig is what package config reads of a file at most.
const maxConfig = 1 << 20

// requiredBy reports whether the configuration has the line "required: true".
// Package config, which is too large for a hook, takes the key in no other form. A
// file that can't be read says nothing: containers start.
func requiredBy(config string) bool {
	f, err := os.Open(config)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig))
	return err == nil && hasRequired(string(b))
}

func hasRequired(config string) bool {
	for line := range strings.Lines(strings.TrimPrefix(config, "\ufeff")) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if value, ok := strings.CutPrefix(line, "required: "); ok && strings.Trim(value, " ") == "true" {
			return true
		}
	}
	return false
}

// told says what the daemon did.
func told(a Answer) string {
	if !a.Inject {
		return "left alone: " + a.Reason
	}
	return fmt.Sprintf("%d files mounted", a.Mounts)
}
