package rig

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// toolPrograms are in ImageTools: what shows a container its limits, and what
// reads files in different ways.
var toolPrograms = []string{
	"sh", "sleep", "cat", "head", "tail", "grep", "nproc", "getconf", "dd", "cp", "ls", "stat", "true", "wc",
	"free", "top", "uptime", "ps", "vmstat",
}

// layer collects the files of an image, by their path in it.
type layer struct {
	files map[string]layerFile
}

type layerFile struct {
	content []byte
	mode    int64
	link    string // target of a symbolic link; content and mode are nothing then
}

func newLayer() *layer { return &layer{files: map[string]layerFile{}} }

// etc adds the few files without which users have no names.
func (l *layer) etc() {
	for path, content := range map[string]string{
		"etc/passwd":        "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":         "root:x:0:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\n",
	} {
		l.files[path] = layerFile{content: []byte(content), mode: 0o644}
	}
}

// terminfo adds the descriptions that top wants, as far as they are here.
func (l *layer) terminfo() {
	for _, dir := range []string{"/usr/share/terminfo", "/lib/terminfo", "/etc/terminfo"} {
		for _, term := range []string{"d/dumb", "l/linux", "v/vt100", "x/xterm"} {
			path := filepath.Join(dir, term)
			if b, err := os.ReadFile(path); err == nil {
				l.files[path[1:]] = layerFile{content: b, mode: 0o644}
			}
		}
	}
}

// program adds a program of this machine to /bin, with the libraries it needs.
func (l *layer) program(name string) error {
	path := lookPath(name)
	if path == "" {
		return fmt.Errorf("%s is not in PATH and no container image can be made without it", name)
	}
	if err := l.copy("bin/"+name, path); err != nil {
		return err
	}
	libs, err := libraries(path)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := l.copy(lib[1:], lib); err != nil {
			return err
		}
	}
	return nil
}

// busybox adds busybox under each of its names.
func (l *layer) busybox() error {
	if err := l.program("busybox"); err != nil {
		return err
	}
	out, err := exec.Command(lookPath("busybox"), "--list").Output()
	if err != nil {
		return fmt.Errorf("list busybox's commands: %w", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if name != "busybox" {
			l.files["bin/"+name] = layerFile{link: "busybox"}
		}
	}
	return nil
}

// copy adds a file of this machine, following links: alternatives and a merged
// /usr are no concern of the image.
func (l *layer) copy(to, from string) error {
	if _, ok := l.files[to]; ok {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read a file for an image: %w", err)
	}
	l.files[to] = layerFile{content: b, mode: 0o755}
	return nil
}

// libraries asks the dynamic loader what a program needs. A static program
// needs nothing.
func libraries(path string) ([]string, error) {
	out, err := exec.Command("ldd", path).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && bytes.Contains(out, []byte("not a dynamic executable")) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w\n%s", path, err, out)
	}
	var libs []string
	for line := range strings.Lines(string(out)) {
		// "libc.so.6 => /lib/…/libc.so.6 (0x…)" or "/lib64/ld-linux-x86-64.so.2 (0x…)".
		if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("ldd %s: %s", path, strings.TrimSpace(line))
		}
		for f := range strings.FieldsSeq(line) {
			if strings.HasPrefix(f, "/") {
				libs = append(libs, f)
			}
		}
	}
	return libs, nil
}

// finish writes the layer as a tar, folders before what is in them.
func (l *layer) finish() ([]byte, error) {
	// Where the kernel's file systems and temporary files go.
	dirs := map[string]bool{"proc": true, "sys": true, "dev": true, "tmp": true, "run": true}
	for path := range l.files {
		for d := filepath.Dir(path); d != "."; d = filepath.Dir(d) {
			dirs[d] = true
		}
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, d := range slices.Sorted(maps.Keys(dirs)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}); err != nil {
			return nil, fmt.Errorf("write %s to a layer: %w", d, err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.files)) {
		f := l.files[path]
		h := &tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: f.mode, Size: int64(len(f.content))}
		if f.link != "" {
			h = &tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: f.link, Mode: 0o777}
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write %s to a layer: %w", path, err)
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, fmt.Errorf("write %s to a layer: %w", path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("finish a layer: %w", err)
	}
	return buf.Bytes(), nil
}
