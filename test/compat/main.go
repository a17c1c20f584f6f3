// Command compat writes the tables of docs/compatibility.md: what programs show
// in containers on cgroup v1 and v2, and what the conformance check finds in
// lxcfs-nri and in lxcfs. Its tests make the same comparison.
package main

const reportMark = "compat: "

func main() {}
