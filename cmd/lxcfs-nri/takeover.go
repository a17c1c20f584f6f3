package main

import (
	"errors"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/lxcfs-nri/lxcfs-nri/config"
	"github.com/lxcfs-nri/lxcfs-nri/fusefs"
	"github.com/lxcfs-nri/lxcfs-nri/internal/fdstore"
)

// Names of what the service manager keeps for the next process.
const (
	keptDevice = "lxcfs-nri-device"
	keptMemory = "lxcfs-nri-memory"
)

// connection is the mounted file system.
type connection struct {
	*fusefs.Conn
	took bool // over from an earlier process
	kept bool // by the service manager, for the next one
}

// connect takes over the FUSE connection that an earlier process left with the
// service manager, or mounts anew.
func connect(cfg *config.Config, files *fusefs.FileSystem, log *slog.Logger) (connection, error) {
	fds, err := fdstore.Received()
	if err != nil {
		log.Warn("what the service manager kept can't be used", "error", err)
	}
	conn, err := takeOver(cfg.Mountpoint, files, fds)
	if err == nil && conn != nil {
		return connection{conn, true, true}, nil
	}
	if err != nil {
		log.Warn("the files are mounted anew, and containers get them in place", "reason", err)
	}
	forget(fds, log)
	shared, err := fusefs.NewShared()
	if err != nil {
		return connection{}, err
	}
	files.SELinuxContext = selinuxContext(cfg.SELinuxContext, selinuxEnabled)
	conn, err = files.Mount(cfg.Mountpoint, shared)
	if errors.Is(err, unix.EINVAL) && cfg.SELinuxContext == config.SELinuxAuto && files.SELinuxContext != "" {
		// The policy does not know containers.
		log.Warn("mounted without an SELinux context, which was not asked for by the configuration", "error", err)
		files.SELinuxContext = ""
		conn, err = files.Mount(cfg.Mountpoint, shared)
	}
	if err != nil {
		return connection{}, errors.Join(err, shared.Close())
	}
	return connection{conn, false, keep(conn, shared, log)}, nil
}

// end takes the file system away for good.
func (c *connection) end() error {
	var errs []error
	if c.kept {
		errs = append(errs, fdstore.Remove(keptDevice), fdstore.Remove(keptMemory))
	}
	return errors.Join(append(errs, c.Unmount())...)
}

// takeOver gives nil where nothing was kept.
func takeOver(mountpoint string, files *fusefs.FileSystem, fds map[string]int) (*fusefs.Conn, error) {
	memory, ok := fds[keptMemory]
	device, okDevice := fds[keptDevice]
	if !ok && !okDevice {
		return nil, nil
	}
	if !ok || !okDevice {
		return nil, errors.New("only a part was kept of what an earlier process had")
	}
	shared, err := fusefs.OpenShared(memory)
	if err != nil {
		return nil, err
	}
	return files.TakeOver(mountpoint, device, shared)
}

// forget gives up what can't be taken over: its connection ends with it.
func forget(fds map[string]int, log *slog.Logger) {
	for name, fd := range fds {
		if name != keptDevice && name != keptMemory {
			log.Warn("an unknown descriptor was kept", "name", name)
		}
		if err := fdstore.Remove(name); err != nil {
			log.Warn("it stays kept", "error", err)
		}
		unix.Close(fd) //nolint:errcheck // given up
	}
}

// keep hands a new connection to the service manager, before anybody relies on
// it. The memory goes first: the device alone would be of no use.
func keep(conn *fusefs.Conn, shared *fusefs.Shared, log *slog.Logger) bool {
	if !fdstore.Available() {
		return false
	}
	err := fdstore.Store(keptMemory, shared.FD())
	if err == nil {
		err = fdstore.Store(keptDevice, conn.Device())
	}
	if err != nil {
		log.Warn("the files will not outlive this process (FileDescriptorStoreMax= of the unit is to be 4)", "error", err)
	}
	return err == nil
}
