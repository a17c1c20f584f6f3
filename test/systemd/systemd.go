// Package systemd has the packaged unit run by systemd, as PID 1 of a virtual
// machine: what readers in containers see of kills, restarts, upgrades and stops.
package systemd

import "time"

// Dir is the folder in which a reader writes its Counts, one file each.
const Dir = "/run/node"

// Counts are of one reader, which reads again and again, in pieces.
type Counts struct {
	Ours    int // whole texts that show the container's figures
	Kernels int // whole texts that show the machine's
	Failed  int // reads that gave an error
	Torn    int // texts that are neither, or no text of one moment
	Back    int // uptimes, of a container's, that were less than one before
	// Stalls are the calls that took longer than Stall, each in ms.
	Stalls []int
	Last   string
}

// Stall is longer than a call takes while the daemon serves, on emulated
// processors that have other things to do.
const Stall = 100 * time.Millisecond
