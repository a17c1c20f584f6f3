// Package systemd has the packaged unit run by systemd, as PID 1 of a virtual
// machine: what readers in containers see of kills, restarts, upgrades and stops.
package systemd

// Dir is the folder in which a reader writes its Counts, one file each.
const Dir = "/run/node"

// Counts are of one reader, which reads again and again, in pieces.
type Counts struct {
	Ours    int // whole texts that show the container's figures
	Kernels int // whole texts that show the machine's
	Failed  int // reads that gave an error
	Torn    int // texts that are neither, or no text of one moment
	Back    int // uptimes, of a container's, that were less than one before
	Longest int // ms that one read(2) or open(2) took
	Last    string
}
