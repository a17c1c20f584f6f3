// Package kube builds the programs of Kubernetes and Helm for the tests.
package kube

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
)

// Helm builds helm, unless it is there, and gives its path.
func Helm(ctx context.Context, log io.Writer) (string, error) {
	dir, err := build(ctx, "Helm", "helm.sh/helm/v3", "helm.mod", log)
	return filepath.Join(dir, "helm"), err
}

// Kubernetes builds etcd (its program is called server), the parts of Kubernetes and
// plugins for the network, unless they are there, and gives their folder.
func Kubernetes(ctx context.Context, log io.Writer) (string, error) {
	return build(ctx, "Kubernetes", "k8s.io/kubernetes", "kubernetes.mod", log)
}

// build builds the tools of a module file of the folder tools.
func build(ctx context.Context, name, module, file string, log io.Writer) (string, error) {
	test, err := gobuild.ModuleDir(ctx)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	b := gobuild.Build{
		Name: name, Dir: filepath.Join(filepath.Dir(test), "tools"), Log: log, Args: []string{"-modfile=" + file},
	}
	version, err := gobuild.Version(ctx, b.Dir, module, b.Args...)
	if err != nil {
		return "", err
	}
	if b.Pkgs, err = gobuild.Tools(ctx, b.Dir, b.Args...); err != nil {
		return "", err
	}
	b.Name += " " + version
	b.Out = filepath.Join(cache, "lxcfs-nri", strings.ToLower(name)+"-"+version, "bin")
	b.Hint = ": minutes the first time, then kept in " + b.Out
	return b.Out, b.UnlessCached(ctx)
}
