// Package hook will be the logic of the OCI hook, for runtimes without NRI:
// the same policy and files as package plugin, asked for by the runtime-spec
// state on standard input.
package hook
