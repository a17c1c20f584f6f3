package k8s

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lxcfs-nri/lxcfs-nri/test/gobuild"
	"github.com/lxcfs-nri/lxcfs-nri/test/kube"
	"github.com/lxcfs-nri/lxcfs-nri/test/lxcfs"
	"github.com/lxcfs-nri/lxcfs-nri/test/rig"
)

// versions of the product, each of which has an image.
var versions = []string{"one", "two"}

const repository = "lxcfs-nri.test/lxcfs-nri"

// build builds all that the node needs, since it has no network: Kubernetes and
// Helm into the cache, the product into dir.
func build(ctx context.Context, dir string) error {
	if _, err := rig.BuildTools(ctx, rig.Options{Log: os.Stderr}); err != nil {
		return err
	}
	if _, err := lxcfs.Fetch(ctx, os.Stderr); err != nil {
		return err
	}
	for link, build := range map[string]func(context.Context, io.Writer) (string, error){kubernetesDir: kube.Kubernetes, helmProgram: kube.Helm} {
		path, err := build(ctx, os.Stderr)
		if err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(dir, link)); err != nil {
			return err
		}
	}
	top, err := topDir(ctx)
	if err != nil {
		return err
	}
	for _, version := range versions {
		b := gobuild.Build{
			Name: "lxcfs-nri " + version, Dir: top, Out: filepath.Join(dir, version), Log: os.Stderr,
			Pkgs: []string{"./cmd/lxcfs-nri", "./cmd/lxcfs-nri-hook"}, Args: []string{"-trimpath", "-ldflags=-s -w -X main.version=" + version},
		}
		if err := b.Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Links in the node's folder.
const (
	kubernetesDir = "kubernetes"
	helmProgram   = "helm"
)

// topDir is where the product's source is.
func topDir(ctx context.Context) (string, error) {
	test, err := gobuild.ModuleDir(ctx)
	return filepath.Dir(test), err
}

// images gives containerd an image of each version, made as the Dockerfile says.
func images(ctx context.Context) error {
	top, err := topDir(ctx)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(top, "packaging/image/Dockerfile"))
	if err != nil {
		return err
	}
	for _, version := range versions {
		files := map[string]string{}
		var entrypoint []string
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(line)
			switch {
			case len(words) == 3 && words[0] == "COPY":
				if binary, ok := strings.CutPrefix(words[1], "dist/stage/${TARGETARCH}/"); ok {
					files[words[2]] = filepath.Join(setup.dir, version, binary)
				} else {
					files[words[2]] = filepath.Join(top, words[1])
				}
			case len(words) > 1 && words[0] == "ENTRYPOINT":
				if err := json.Unmarshal([]byte(strings.Join(words[1:], " ")), &entrypoint); err != nil {
					return fmt.Errorf("ENTRYPOINT of the Dockerfile: %w", err)
				}
			}
		}
		if err := setup.rig.AddImage(ctx, repository+":"+version, files, entrypoint...); err != nil {
			return err
		}
	}
	return nil
}
