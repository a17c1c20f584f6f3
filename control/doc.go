// Package control is the daemon's unix socket (HTTP, JSON) in its run
// directory, and its client: what is mounted, which runtime is connected,
// which containers are registered and what they see. Only root may connect.
package control
