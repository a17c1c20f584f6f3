package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/view"
)

// state is what a runtime hands to a hook ("State" in the runtime
// specification), as far as it is of use. More may be in it.
type state struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	PID         int               `json:"pid"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations"`
}

// stopped is the status at the stage poststop.
const stopped = "stopped"

// maxState bounds what is read: Kubernetes alone takes 256 KiB of annotations.
const maxState = 4 << 20

func readState(r io.Reader) (state, error) {
	var s state
	b, err := io.ReadAll(io.LimitReader(r, maxState+1))
	if err != nil {
		return s, fmt.Errorf("read the container's state from standard input: %w", err)
	}
	if err := s.parse(b); err != nil {
		return s, fmt.Errorf("the container's state on standard input: %w: an OCI runtime is to run this hook", err)
	}
	return s, nil
}

func (s *state) parse(b []byte) error {
	if len(b) > maxState {
		return fmt.Errorf("it has more than %d bytes", maxState)
	}
	if err := json.Unmarshal(b, s); err != nil {
		return err
	}
	if err := view.CheckID(s.ID); err != nil {
		return err
	}
	switch {
	case !strings.HasPrefix(s.Version, "1."):
		return fmt.Errorf("ociVersion is %.40q: 1.x is known", s.Version)
	case !slices.Contains([]string{"creating", "created", "running", stopped}, s.Status):
		return fmt.Errorf("status is %.40q: creating, created, running or stopped is possible", s.Status)
	case s.PID < 0:
		return fmt.Errorf("pid is %d", s.PID)
	case s.Status != stopped && !clean(s.Bundle):
		return fmt.Errorf("bundle is %.300q: not a clean absolute path", s.Bundle)
	}
	return nil
}

// clean says that a path is absolute, and leads where it says.
func clean(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/" && !strings.ContainsRune(path, 0)
}

// errNoRoot says that a bundle's configuration names no root directory.
var errNoRoot = errors.New("no root.path is in it")

// maxSpec bounds a bundle's configuration. Runtimes write some 50 KiB.
const maxSpec = 16 << 20

// spec is a bundle's config.json, as far as it is of use.
type spec struct {
	Root struct {
		Path string `json:"path"`
	} `json:"root"`
	Linux struct {
		Namespaces []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
	} `json:"linux"`
}

// parseSpec reads a bundle's configuration. The root's path is made absolute.
func parseSpec(b []byte, bundle string) (spec, error) {
	var s spec
	if len(b) > maxSpec {
		return s, fmt.Errorf("it has more than %d bytes", maxSpec)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	if s.Root.Path == "" {
		return s, errNoRoot
	}
	if !filepath.IsAbs(s.Root.Path) {
		s.Root.Path = filepath.Join(bundle, s.Root.Path)
	}
	if s.Root.Path = filepath.Clean(s.Root.Path); !clean(s.Root.Path) {
		return s, fmt.Errorf("root.path %.300q can't be a container's root", s.Root.Path)
	}
	return s, nil
}

// hostPID says that a container has no PID namespace of its own.
func (s *spec) hostPID() bool {
	for _, ns := range s.Linux.Namespaces {
		if ns.Type == "pid" {
			return false
		}
	}
	return true
}
