// Package plugin is the NRI plugin: it turns a runtime's events into views and
// bind mounts. The policy decides (package config), the files come from the
// FUSE file system, of which this package knows only the path.
//
// What holds at each event, as containerd and CRI-O send them:
//
//	Synchronize      first after every (re)connect: all pods and containers
//	CreateContainer  no process yet (pid 0); the cgroup's path is known
//	StartContainer   pid known (not by CRI-O before 1.36), the program has not run yet
//	StopContainer    the processes have ended
//	RemoveContainer  nothing is left of it
//
// A runtime that goes away is waited for: the process holds every container's
// files and never exits for that.
package plugin
