// Package attach puts files into mount namespaces that already run, and takes
// them away again. It imports nothing of ours.
//
// A mount is made from a detached copy of one in the caller's namespace
// (open_tree(2)) that is moved to its place (move_mount(2)) by a thread which
// has entered the container's namespace (setns(2)). Linux 5.12 and later
// (mount_setattr(2)).
package attach
