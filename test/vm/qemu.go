package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// emulator is a QEMU and how it emulates the processors.
type emulator struct{ path, version, thread string }

func (e emulator) String() string { return e.version + ", thread=" + e.thread }

var version = regexp.MustCompile(`version ((\d+)\.[\d.]+)`)

// ask tells how a QEMU is to be run. Up to 7.2 (Debian 12) a thread of its own
// for each processor corrupts the kernel's jump labels: "Oops: int3".
func ask(ctx context.Context, qemu string) (emulator, error) {
	b, err := exec.CommandContext(ctx, qemu, "--version").CombinedOutput()
	if err != nil {
		return emulator{}, fmt.Errorf("ask QEMU for its version: %w: %s", err, b)
	}
	m := version.FindSubmatch(b)
	if m == nil {
		return emulator{}, fmt.Errorf("QEMU tells no version: %q", b)
	}
	e := emulator{path: qemu, version: string(m[1]), thread: "multi"}
	if major, err := strconv.Atoi(string(m[2])); err != nil || major < 10 {
		e.thread = "single"
	}
	return e, nil
}

// findEmulator gives the installed QEMU, or a newer one in the cache, where
// that is twice as fast and can be had.
func findEmulator(ctx context.Context, log io.Writer) (emulator, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return emulator{}, fmt.Errorf("%w: install the package qemu-system-x86", err)
	}
	installed, err := ask(ctx, qemu)
	if err != nil || installed.thread == "multi" {
		return installed, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return emulator{}, fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	dir := filepath.Join(cache, "lxcfs-nri", "qemu-"+newer)
	newest, err := ask(ctx, filepath.Join(dir, "qemu"))
	if errors.Is(err, os.ErrNotExist) {
		_, _ = fmt.Fprintf(log, "  fetching the QEMU of Debian %s with apt-get\n", newer)
		err = cached(dir, func(tmp string) error { return sh(ctx, tmp, fetchQEMU, newer, dir) })
		if err == nil {
			newest, err = ask(ctx, filepath.Join(dir, "qemu"))
		}
	}
	if err != nil {
		_, _ = fmt.Fprintf(log, "  there is only QEMU %s, which is slower: %v\n", installed, err)
		return installed, nil
	}
	return newest, nil
}

// newer is the Debian release whose QEMU serves where the machine's is too old.
const newer = "trixie"

// fetchQEMU unpacks QEMU with all that it needs, down to the C library.
// Nothing is installed.
const fetchQEMU = aptState + `
apt-get -qq -y --download-only install qemu-system-x86
for p in apt/archives/*.deb; do dpkg-deb -x "$p" root; done
rm -rf apt root/usr/share/doc root/usr/share/locale root/usr/share/man
cat >qemu <<EOF
#!/bin/sh
lib=$dir/root/usr/lib/x86_64-linux-gnu share=$dir/root/usr/share
exec "\$lib/ld-linux-x86-64.so.2" --library-path "\$lib:\$lib/pulseaudio" $dir/root/usr/bin/qemu-system-x86_64 -L "\$share/qemu" -L "\$share/seabios" "\$@"
EOF
chmod +x qemu
`
