// Package attach will put files into mount namespaces that already run, and
// take them away again (open_tree(2), setns(2), move_mount(2)). It imports
// nothing of ours.
package attach
