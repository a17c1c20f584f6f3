package rig

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The images of a rig, named after a domain that does not exist: whatever asks
// for one must find it here.
const (
	// ImageTools has a shell, coreutils and procps of this machine.
	ImageTools = "lxcfs-nri.test/tools:1"
	// ImageBusybox has busybox and nothing else.
	ImageBusybox = "lxcfs-nri.test/busybox:1"

	imagePause = "lxcfs-nri.test/pause:1"
)

// importImages makes the images and gives them to containerd.
func (r *Rig) importImages(ctx context.Context) error {
	r.say("making container images from this machine's files")
	archive, names, err := r.images()
	if err != nil {
		return err
	}
	return r.give(ctx, archive, names)
}

// AddImage makes an image of files of this machine, by their paths in it, and gives
// it to containerd.
func (r *Rig) AddImage(ctx context.Context, name string, files map[string]string, entrypoint ...string) error {
	l := newLayer()
	for to, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("read a file for an image: %w", err)
		}
		st, err := os.Stat(from)
		if err != nil {
			return fmt.Errorf("read a file for an image: %w", err)
		}
		l.files[strings.TrimPrefix(to, "/")] = layerFile{content: b, mode: int64(st.Mode().Perm())}
	}
	a := newArchive()
	if err := a.image(name, l, v1.ImageConfig{Entrypoint: entrypoint}); err != nil {
		return err
	}
	b, err := a.finish()
	if err != nil {
		return err
	}
	return r.give(ctx, b, []string{name})
}

// give imports an archive of images.
func (r *Rig) give(ctx context.Context, archive []byte, names []string) error {
	c, err := client.New(r.socket(), client.WithDefaultNamespace("k8s.io"))
	if err != nil {
		return fmt.Errorf("connect to containerd: %w", err)
	}
	defer c.Close() //nolint:errcheck // nothing to lose
	imported, err := c.Import(ctx, bytes.NewReader(archive))
	if err != nil {
		return fmt.Errorf("import the images: %w", err)
	}
	for _, i := range imported {
		if err := client.NewImage(c, i).Unpack(ctx, "overlayfs"); err != nil {
			return fmt.Errorf("unpack %s: %w", i.Name, err)
		}
	}
	// The CRI learns of images by events.
	for _, name := range names {
		if err := Poll(ctx, waitShort, func() error { return r.cri.hasImage(ctx, name) }); err != nil {
			return err
		}
	}
	return nil
}

// images makes an OCI archive with all images.
func (r *Rig) images() (archive []byte, names []string, err error) {
	a := newArchive()
	tools, err := toolsLayer()
	if err != nil {
		return nil, nil, err
	}
	if err := a.image(ImageTools, tools, command("sleep", "infinity")); err != nil {
		return nil, nil, err
	}
	pause := newLayer()
	if err := pause.program("sleep"); err != nil {
		return nil, nil, err
	}
	if err := a.image(imagePause, pause, command("sleep", "infinity")); err != nil {
		return nil, nil, err
	}
	if r.opts.Busybox {
		busybox := newLayer()
		busybox.etc()
		if err := busybox.busybox(); err != nil {
			return nil, nil, err
		}
		if err := a.image(ImageBusybox, busybox, command("sleep", "2147483647")); err != nil {
			return nil, nil, err
		}
	}
	for _, m := range a.index.Manifests {
		names = append(names, m.Annotations[annotationImageName])
	}
	archive, err = a.finish()
	return archive, names, err
}

func toolsLayer() (*layer, error) {
	l := newLayer()
	l.etc()
	l.terminfo()
	for _, name := range toolPrograms {
		if err := l.program(name); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// ToolsTar is the content of ImageTools as a tar, for other container managers.
func ToolsTar() ([]byte, error) {
	l, err := toolsLayer()
	if err != nil {
		return nil, err
	}
	return l.finish()
}

// annotationImageName is where containerd looks for an image's full name.
const annotationImageName = "io.containerd.image.name"

// archive is an OCI image layout in a tar.
type archive struct {
	buf   bytes.Buffer
	tar   *tar.Writer
	index v1.Index
}

func newArchive() *archive {
	a := &archive{index: v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}}
	a.tar = tar.NewWriter(&a.buf)
	return a
}

func (a *archive) file(name string, b []byte) error {
	err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Format: tar.FormatPAX})
	if err == nil {
		_, err = a.tar.Write(b)
	}
	if err != nil {
		return fmt.Errorf("write %s to the image archive: %w", name, err)
	}
	return nil
}

func (a *archive) blob(mediaType string, b []byte) (v1.Descriptor, error) {
	d := digest.FromBytes(b)
	err := a.file(filepath.Join("blobs", d.Algorithm().String(), d.Encoded()), b)
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}, err
}

func (a *archive) json(mediaType string, v any) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	return a.blob(mediaType, b)
}

// command is the configuration of an image with programs.
func command(args ...string) v1.ImageConfig {
	return v1.ImageConfig{Env: []string{"PATH=/bin", "TERM=dumb", "LC_ALL=C"}, Cmd: args}
}

// image adds an image of one layer.
func (a *archive) image(name string, l *layer, conf v1.ImageConfig) error {
	content, err := l.finish()
	if err != nil {
		return err
	}
	layer, err := a.blob(v1.MediaTypeImageLayer, content)
	if err != nil {
		return err
	}
	config, err := a.json(v1.MediaTypeImageConfig, v1.Image{
		Platform: v1.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config:   conf,
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	})
	if err != nil {
		return err
	}
	m, err := a.json(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: config, Layers: []v1.Descriptor{layer},
	})
	m.Annotations = map[string]string{annotationImageName: name}
	a.index.Manifests = append(a.index.Manifests, m)
	return err
}

func (a *archive) finish() ([]byte, error) {
	index, err := json.Marshal(a.index)
	if err != nil {
		return nil, fmt.Errorf("encode the image index: %w", err)
	}
	if err := a.file(v1.ImageIndexFile, index); err != nil {
		return nil, err
	}
	if err := a.file(v1.ImageLayoutFile, []byte(`{"imageLayoutVersion": "`+v1.ImageLayoutVersion+`"}`)); err != nil {
		return nil, err
	}
	if err := a.tar.Close(); err != nil {
		return nil, fmt.Errorf("finish the image archive: %w", err)
	}
	return a.buf.Bytes(), nil
}
