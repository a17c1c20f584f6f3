package vm

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kernels are Debian's packages for virtual machines, by version.
var kernels = map[string]string{
	"6.12": "linux-image-6.12-cloud-amd64",
	"6.1":  "linux-image-cloud-amd64",
}

// modules are those the machine and the tests want; what they depend on comes
// along, and what is built in is not looked for.
var modules = []string{
	"virtio_pci", "virtio_console", "virtiofs", "fuse", "overlay", "zram", "lzo_rle",
	"veth", "bridge", "bfq", "loop", "ext4", "virtio_blk",
}

//go:embed init
var initScript string

// files of a kernel that is ready to start.
type image struct{ kernel, initramfs string }

// prepare fetches a kernel with the machine's own apt-get, unless the cache has
// it, and packs its modules.
func prepare(ctx context.Context, version string, log io.Writer) (image, error) {
	meta, ok := kernels[version]
	if !ok {
		return image{}, fmt.Errorf("no kernel %q: choose 6.12 or 6.1", version)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return image{}, fmt.Errorf("find the cache folder: %w: set XDG_CACHE_HOME", err)
	}
	// Another list of modules makes another image.
	dir := filepath.Join(cache, "lxcfs-nri", fmt.Sprintf("linux-%s-%08x", version, crc32.ChecksumIEEE([]byte(strings.Join(modules, " ")))))
	img := image{filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "modules.cpio")}
	if _, err := os.Stat(img.initramfs); err == nil {
		return img, nil
	}
	if err := cached(dir, func(tmp string) error { return fetch(ctx, meta, tmp, log) }); err != nil {
		return image{}, fmt.Errorf("prepare kernel %s: %w", version, err)
	}
	return img, nil
}

// cached has a folder filled under another name: only what is whole gets the
// name under which it is looked for.
func cached(dir string, fill func(tmp string) error) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "building-")
	if err != nil {
		return fmt.Errorf("make a folder to build in: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func fetch(ctx context.Context, meta, dir string, log io.Writer) error {
	_, _ = fmt.Fprintf(log, "  fetching %s with apt-get\n", meta)
	// A meta package only points at the newest build of a version.
	script := `
set -e
pkg() { apt-cache depends "$0" | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1; }
[ -n "$(pkg)" ] || apt-get -qq update
p=$(pkg)
[ -n "$p" ] || { echo "apt knows no package $0: the machine needs Debian's package lists, with security updates"; exit 1; }
apt-get -qq download "$p" || { apt-get -qq update; apt-get -qq download "$p"; }
dpkg-deb -x "$p"_*.deb x
mv x/boot/vmlinuz-* vmlinuz
v=$(basename x/lib/modules/*)
find x/lib/modules -name '*.ko.xz' -exec xz -d {} +
depmod -b x "$v"
`
	if err := sh(ctx, dir, script, meta); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "x/lib/modules/*"))
	if err != nil || len(found) != 1 {
		return errors.Join(fmt.Errorf("the package has modules for %d kernels", len(found)), err)
	}
	return pack(ctx, dir, found[0])
}

// pack keeps the modules that are wanted, and what they depend on.
func pack(ctx context.Context, dir, from string) error {
	deps, err := os.ReadFile(filepath.Join(from, "modules.dep"))
	if err != nil {
		return err
	}
	var keep []string
	for line := range strings.Lines(string(deps)) {
		module, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		name := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(module), ".ko"), "-", "_")
		if slices.Contains(modules, name) {
			keep = append(keep, append(strings.Fields(needs), module)...)
		}
	}
	to := filepath.Join(dir, "root/lib/modules", filepath.Base(from))
	for _, f := range append(keep, "modules.builtin", "modules.order") {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, f)), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(from, f), filepath.Join(to, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return sh(ctx, dir, `
set -e
depmod -b root "$0"
cd root
mkdir -p bin proc sys dev rw host newroot
cp "$(command -v busybox)" bin/busybox
ln -s bin sbin
for a in $(bin/busybox --list); do [ "$a" = busybox ] || ln -s busybox "bin/$a"; done
find . | cpio -o -H newc --quiet >../modules.cpio
cd ..
rm -rf root x ./*.deb
`, filepath.Base(from))
}

// sh runs a script whose output matters only if it fails.
func sh(ctx context.Context, dir, script string, args ...string) error {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", "PATH=$PATH:/usr/sbin:/sbin\n" + script}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
