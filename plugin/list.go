package plugin

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// Docker does not tell when a container is removed. After askAgain new ones it is
// asked for all that there are, which it is by another plugin that connects: were
// this one to connect anew, containers created meanwhile would have no files.
const (
	askAgain   = 256
	askTimeout = 30 * time.Second
)

// lister is that other plugin.
type lister struct {
	of   *Plugin
	done func()
}

var (
	_ stub.SynchronizeInterface   = (*lister)(nil)
	_ stub.StopContainerInterface = (*lister)(nil)
)

// Synchronize is what it is there for. Docker creates and removes no container meanwhile.
func (l *lister) Synchronize(ctx context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	defer l.done()
	return l.of.Synchronize(ctx, pods, containers)
}

// StopContainer is there since a plugin has to handle something.
func (l *lister) StopContainer(context.Context, *api.PodSandbox, *api.Container) ([]*api.ContainerUpdate, error) {
	return nil, nil
}

// count notes a container that a runtime has told of.
func (p *Plugin) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runtime.Name != Docker {
		return
	}
	if p.created++; p.created%askAgain == 0 {
		go p.list()
	}
}

func (p *Plugin) list() {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	if err := p.ask(ctx); err != nil {
		p.log.Warn("Docker does not list its containers: removed ones are remembered until it does", "error", err)
	}
}

// ask has Docker list its containers.
func (p *Plugin) ask(ctx context.Context) error {
	listed, done := context.WithCancel(ctx)
	defer done()
	s, err := p.stub(&lister{of: p, done: done}, p.cfg.NRI.PluginName+"-list")
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer s.Stop()
	<-listed.Done()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("waiting for its list: %w", err)
	}
	return nil
}
