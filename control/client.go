package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNoDaemon says that nobody listens in a run directory.
var ErrNoDaemon = errors.New("no daemon answers")

// Ask gets the status of the daemon that has this run directory.
func Ask(ctx context.Context, runDir string) (Status, error) {
	var s Status
	err := call(ctx, runDir, http.MethodGet, "status", nil, &s)
	return s, err
}

// Attach has the daemon give containers the files that they lack.
func Attach(ctx context.Context, runDir string, r Request) (Outcome, error) {
	return manage(ctx, runDir, "attach", r)
}

// Detach has the daemon take the files from containers.
func Detach(ctx context.Context, runDir string, r Request) (Outcome, error) {
	return manage(ctx, runDir, "detach", r)
}

func manage(ctx context.Context, runDir, what string, r Request) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return Outcome{}, err
	}
	var o Outcome
	err = call(ctx, runDir, http.MethodPost, what, body, &o)
	return o, err
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// call asks the daemon, and decodes its answer.
func call(ctx context.Context, runDir, method, what string, body []byte, to any) error {
	path := filepath.Join(runDir, SocketName)
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://lxcfs-nri/v1/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("asking the daemon at %s: only root may: use sudo", path)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s: start it (lxcfs-nri serve), or name its --run-dir", ErrNoDaemon, path)
	case err != nil:
		return fmt.Errorf("asking the daemon at %s: %w", path, err)
	}
	defer res.Body.Close()
	answer := json.NewDecoder(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode != http.StatusOK {
		var o Outcome
		if err := answer.Decode(&o); err == nil && o.Error != "" {
			return errors.New(o.Error)
		}
		return fmt.Errorf("asking the daemon at %s: %s", path, res.Status)
	}
	if err := answer.Decode(to); err != nil {
		return fmt.Errorf("the daemon at %s gave an answer that can't be read: %w", path, err)
	}
	return nil
}
