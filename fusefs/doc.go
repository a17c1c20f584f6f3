// Package fusefs serves the views over FUSE.
//
// A node id is a meaning, not an allocation: the view's number in the high 24
// bits, the number of the file or directory in the low 40. View 0 is the
// tree at the root, whose files are resolved by who reads them:
//
//	/                        root, view 0
//	├── proc/…, sys/…        caller-resolved files, lxcfs' layout
//	└── containers/          0700
//	    └── <id>/            root of view n
//	        └── proc/…, sys/…
//
// So nothing is allocated at a lookup, nothing is to be forgotten, and another
// process that knows the same views can answer the same kernel. A handle is a
// number too; what an open file has read so far hangs on it, and a process
// that does not know a handle renders anew.
//
// The kernel's requests are read from /dev/fuse by a loop of our own and
// answered by go-fuse's protocol server, except for polls. The only files that are
// written to are those of pressure: PSI triggers. fusefs knows views; it knows nothing
// of cgroups, runtimes or hooks.
package fusefs
