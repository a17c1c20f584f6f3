// Package cgroup says what the kernel says about a control group: it finds the
// mounted hierarchies (v1, v2, or both), a process's group in them, that
// group's levels up to the root, and reads limits and use of each level on
// descriptors that stay open.
//
//	FS      the hierarchies below a root directory ("/" or a fixture)
//	Group   one container's group; per controller its levels, innermost first
//	file    one kept descriptor, shared by all groups that have the level
//
// The package decides nothing: which level governs, and what is shown, is for
// the caller. A v1 and a v2 reader fill the same struct.
//
// Formats: Documentation/admin-guide/cgroup-v2.rst and
// Documentation/admin-guide/cgroup-v1/ of the kernel.
package cgroup
