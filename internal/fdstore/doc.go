// Package fdstore hands descriptors from one process of a service to the next,
// as systemd's file descriptor store does (sd_notify(3), sd_listen_fds(3)): the
// service sends them to its service manager, and is started with them after it
// was killed. Keeper is a service manager for where there is no systemd.
package fdstore
