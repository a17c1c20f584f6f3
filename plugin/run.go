package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/containerd/nri/pkg/stub"
)

// How long a runtime that is away is waited for between tries.
const (
	firstWait = 100 * time.Millisecond
	maxWait   = 5 * time.Second
)

// Run serves the runtime at the other end of the NRI socket until ctx is done.
// It comes back after every loss of the connection, for ever.
func (p *Plugin) Run(ctx context.Context) error {
	wait, last := firstWait, ""
	for ctx.Err() == nil {
		err := p.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if p.disconnected() {
			p.log.Warn("the runtime went away, waiting for it; containers keep their files", "socket", p.cfg.NRI.Socket)
			wait, last = firstWait, ""
		} else if now := fmt.Sprint(err); now != last {
			p.log.Warn("no runtime yet, waiting for it", "socket", p.cfg.NRI.Socket, "error", err, "remedy", remedy(err))
			last = now
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxWait)
	}
	return nil
}

// connection is one connection from its making to its end.
func (p *Plugin) connection(ctx context.Context) error {
	if _, err := os.Stat(p.cfg.NRI.Socket); err != nil {
		return err
	}
	s, err := p.stub(p, p.cfg.NRI.PluginName)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// stub makes what speaks to the runtime for a plugin.
func (p *Plugin) stub(plugin any, name string) (stub.Stub, error) {
	s, err := stub.New(plugin,
		stub.WithPluginName(name),
		stub.WithPluginIdx(p.cfg.NRI.PluginIndex),
		stub.WithSocketPath(p.cfg.NRI.Socket),
		stub.WithOnClose(func() {}), // without it a lost connection ends the process
		stub.WithLogger(logger{p.log}),
	)
	if err != nil {
		return nil, fmt.Errorf("making the NRI plugin: %w", err)
	}
	return s, nil
}

// disconnected notes the end of a connection; false where there was none.
func (p *Plugin) disconnected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.runtime.Connected
	p.runtime.Connected = false
	return was
}

func remedy(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "enable NRI in the runtime's configuration (containerd 1.7 and CRI-O 1.26 have it, containerd 2 and CRI-O 1.30 have it on), or set nri.socket"
	}
	return "see the runtime's log: is NRI enabled, and does it allow external plugins?"
}

// logger takes what the NRI library says, which is of use when something is wrong.
type logger struct{ log *slog.Logger }

func (l logger) Debugf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "nri: "+fmt.Sprintf(format, args...))
}

func (l logger) Infof(ctx context.Context, format string, args ...any) {
	l.Debugf(ctx, format, args...)
}

func (l logger) Warnf(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, "nri: "+fmt.Sprintf(format, args...))
}

func (l logger) Errorf(ctx context.Context, format string, args ...any) {
	l.Warnf(ctx, format, args...)
}
