// Package rig puts up real parts for the demo and the end-to-end tests: a
// containerd of its own with NRI, images made from the files of this machine,
// pods and containers through the CRI, and the lxcfs-nri daemon.
//
// Everything a rig makes is below one folder and one cgroup, both named after
// the process that made them, so that Close finds all of it again, and Sweep
// what a killed process left behind.
package rig
