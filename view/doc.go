// Package view is what a container sees: the content of every virtual file,
// computed from the container's cgroups and one shared snapshot of the host.
//
// The table Files says what is served. Each file is made in three steps: read
// (I/O, may fail), figures (a plain struct, one snapshot), append (pure,
// cannot fail). docs/views.md says what each line means.
//
// Registry knows the containers; Host holds the host's own files, read at most
// once a second and only when somebody asks.
package view
