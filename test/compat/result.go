package main

import "time"

// machine is the one that the containers run on.
type machine struct {
	kernel           string
	total, swap      float64 // MiB, as sysinfo(2) tells
	blocks           float64 // MiB, as /sys/devices/system/memory tells
	cpus             float64 // online
	disk, diskNumber string  // the one that holds temporary files
}

// sample is what the kernel says at a moment. Memory is in MiB, CPU time in
// seconds, what is written in KiB.
type sample struct {
	at                       time.Time
	sinceBoot                float64
	used, cache, reclaimable float64
	cpu, workCPU             float64
	written                  float64
	hostFree, hostLoad       float64
	hostNode                 float64 // of the first NUMA node, which may grow
	hostWritten              float64
}

// watch is what is known of a container while a program runs in it.
type watch struct {
	machine  machine
	limit    float64 // of memory, MiB
	swap     float64 // limit, MiB
	quota    float64 // in CPUs
	cpus     float64 // that the limits allow
	affinity float64 // CPUs of the cpuset
	waiting  float64 // tasks that make the load
	born     float64 // seconds from boot to its init's start
	worker   int     // process that makes it busy, 0 for none
	asked    float64 // seconds from boot to the first program
	interval time.Duration
	samples  []sample
}

// Shown is one line of the table: what a program has shown.
type Shown struct {
	Program, Version string
	Container        string // the one it ran in
	Asks, From       string
	Whose            string
	Value            string
	Remark           string
}

// Names of trees.
const (
	linux   = "Linux"
	product = "lxcfs-nri"
)

// Tree is what the conformance check has found in a tree of files.
type Tree struct {
	Name     string
	Checked  string
	Absent   []string
	Findings []string
}

// Run is what a run of the tests reports, as JSON.
type Run struct {
	Machine string // for the reader
	Cgroups string // v1 or v2
	Shown   []Shown
	Trees   []Tree
}
