// Package hook is the OCI hook, for runtimes without NRI. An OCI runtime runs it
// when a container's mounts are made and its program has not run yet; it asks the
// daemon, which decides by the same policy as for NRI, and mounts the container's
// own files. Where the daemon may not be asked (rootless podman), the hook itself
// mounts the files that are resolved by who reads them.
//
// It runs at every start of a container: what it imports is kept small.
package hook
